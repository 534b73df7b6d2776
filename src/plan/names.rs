//! Resolving what the configuration only names: clusters, the host, relative paths, templates.
//!
//! Used by the rules (which report what cannot be resolved) and by the plan (which comes after the rules), so that both see the same.

use crate::config::{Cluster, Config, Consume, FileOutput, From, Input};
use crate::template::{Constants, LineTemplate, Part, PathTemplate, Template, TemplateError};
use crate::yaml::Spanned;

use super::Site;

/// The port of a broker for which none is written.
const KAFKA_PORT: &str = "9092";

/// A configuration and the place where it will run.
pub(super) struct Names<'a> {
    pub config: &'a Config,
    pub site: &'a Site,
    /// `id` with the host put in; empty when its template is wrong.
    pub id: String,
    /// Absolute.
    pub data_dir: String,
}

impl<'a> Names<'a> {
    pub fn new(config: &'a Config, site: &'a Site) -> Self {
        let mut names = Self {
            config,
            site,
            id: String::new(),
            data_dir: String::new(),
        };
        names.id = names.resolve_id().unwrap_or_default();
        names.data_dir = names.absolute(&config.data_dir.value);
        names
    }

    /// `id`, in which only `{host}` may stand.
    pub fn resolve_id(&self) -> Result<String, TemplateError> {
        let template = Template::parse(&self.config.id.value, &[Part::Host])?;
        Ok(render(&template, &self.constants()))
    }

    fn constants(&self) -> Constants<'_> {
        Constants {
            id: Some(&self.id),
            host: Some(&self.site.host),
            input: None,
        }
    }

    /// A text in which `{id}` and `{host}` may stand.
    pub fn constant(&self, text: &Spanned<String>) -> Result<String, TemplateError> {
        let template = Template::parse(&text.value, Part::CONSTANT)?;
        Ok(render(&template, &self.constants()))
    }

    /// The group, if its template is right.
    pub fn group(&self, from: &Consume) -> Option<String> {
        self.constant(from.group.as_ref()?).ok()
    }

    /// The cluster that is named, or the only one.
    pub fn cluster(&self, name: Option<&Spanned<String>>) -> Option<&'a Cluster> {
        match (name, self.config.clusters.as_slice()) {
            (Some(name), clusters) => clusters
                .iter()
                .find(|cluster| cluster.name.value == name.value),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The topic's template, constants put in. `Ok(None)`: it could not be read, which was reported.
    pub fn topic(&self, input: &Input) -> Result<Option<Template>, TemplateError> {
        let text = input.to.as_ref().and_then(|to| to.topic.as_ref());
        self.record_template(
            input,
            text,
            [Part::FILE_TOPIC, Part::STREAM, Part::SYSLOG_TOPIC],
        )
    }

    /// The key's template, constants put in.
    pub fn key(&self, input: &Input) -> Result<Option<Template>, TemplateError> {
        let text = input.to.as_ref().and_then(|to| to.key.as_ref());
        self.record_template(input, text, [Part::FILE, Part::STREAM, Part::SYSLOG])
    }

    /// The template of what decides the partition where the key does not, constants put in. Absent where the key does, or nothing.
    pub fn place(&self, input: &Input) -> Result<Option<Template>, TemplateError> {
        let text = input.to.as_ref().and_then(|to| to.place());
        self.record_template(input, text, [Part::FILE, Part::STREAM, Part::SYSLOG])
    }

    /// The template of a header or a value, constants put in.
    pub fn template(
        &self,
        input: &Input,
        text: &Spanned<String>,
    ) -> Result<Template, TemplateError> {
        let allowed = [Part::FILE, Part::STREAM, Part::SYSLOG];
        let template = self.record_template(input, Some(text), allowed)?;
        template.map_or_else(|| Template::parse("", &[]), Ok)
    }

    fn record_template(
        &self,
        input: &Input,
        text: Option<&Spanned<String>>,
        [of_files, of_streams, of_syslog]: [&[Part]; 3],
    ) -> Result<Option<Template>, TemplateError> {
        let allowed = match input.from {
            Some(From::Stdin { .. }) => of_streams,
            Some(From::Syslog(_)) => of_syslog,
            // Also when the source could not be read: one problem is enough.
            Some(From::File(_)) | None => of_files,
        };
        let Some(text) = text else { return Ok(None) };
        let template = Template::parse(&text.value, allowed)?;
        Ok(Some(template.fill(&Constants {
            input: Some(&input.name.value),
            ..self.constants()
        })))
    }

    /// The output's path, absolute, constants put in.
    pub fn output_path(&self, to: &FileOutput) -> Result<Option<PathTemplate>, TemplateError> {
        let Some(text) = &to.path else {
            return Ok(None);
        };
        // As it was written first, so that a problem's place fits.
        PathTemplate::parse(&text.value)?;
        let folder = self.site.folder.to_string_lossy();
        let absolute = clean(&text.value, &folder, PathTemplate::escape);
        PathTemplate::parse(&absolute).map(|path| Some(path.fill(&self.constants())))
    }

    /// What an output writes for a record, constants put in.
    pub fn line(&self, text: &Spanned<String>) -> Result<LineTemplate, TemplateError> {
        Ok(LineTemplate::parse(&text.value)?.fill(&self.constants()))
    }

    /// An absolute path.
    pub fn absolute(&self, path: &str) -> String {
        clean(path, &self.site.folder.to_string_lossy(), str::to_owned)
    }

    /// An absolute glob.
    pub fn pattern(&self, glob: &str) -> String {
        clean(glob, &self.site.folder.to_string_lossy(), globset::escape)
    }

    /// A glob of what is left alone: relative ones stay so when they speak of any folder.
    pub fn exclusion(&self, glob: &str) -> String {
        if glob.contains('/') && !glob.starts_with("**") {
            self.pattern(glob)
        } else {
            glob.to_owned()
        }
    }
}

fn render(template: &Template, constants: &Constants<'_>) -> String {
    let filled = template.fill(constants);
    filled.constant().unwrap_or_default().to_owned()
}

/// `path` below `folder` unless it is absolute, without `.` and empty components, leading `..` taken from the folder.
fn clean(path: &str, folder: &str, escape: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = Vec::new();
    let relative = !path.starts_with('/');
    if relative {
        parts.extend(
            folder
                .split('/')
                .filter(|part| !part.is_empty())
                .map(escape),
        );
    }
    let mut leading = relative;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if leading => drop(parts.pop()),
            part => {
                leading = false;
                parts.push(part.to_owned());
            }
        }
    }
    format!("/{}", parts.join("/"))
}

/// `HOST:PORT` of `HOST` or `HOST:PORT`; `None` when it is neither.
pub(super) fn broker(address: &str) -> Option<String> {
    let (host, port) = match address.rsplit_once(':') {
        // An IPv6 address without brackets has more colons.
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => return None,
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => {
            (address, KAFKA_PORT) // `[::1]`
        }
        Some((host, port)) => (host, port),
        None => (address, KAFKA_PORT),
    };
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let in_brackets = host.strip_prefix('[').map(|host| host.strip_suffix(']'));
    let host_fits = match in_brackets {
        Some(Some(inner)) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        Some(None) => false,
        None => !host.is_empty() && host.chars().all(fits) && !host.contains([':', '[', ']']),
    };
    (is_port && host_fits).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_begin_in_the_current_folder() {
        let cleaned = |path| clean(path, "/home/me", str::to_owned);
        assert_eq!(cleaned("logs/a"), "/home/me/logs/a");
        assert_eq!(cleaned("./logs//a"), "/home/me/logs/a");
        assert_eq!(cleaned("../a"), "/home/a");
        assert_eq!(cleaned("/var/./a"), "/var/a");
        assert_eq!(cleaned("a/../b"), "/home/me/a/../b");
        assert_eq!(
            clean("*.log", "/odd[1]", globset::escape),
            "/odd[[]1[]]/*.log"
        );
        assert_eq!(
            clean("{topic}", "/100%", PathTemplate::escape),
            "/100%%/{topic}"
        );
    }

    #[test]
    fn brokers_get_the_usual_port() {
        assert_eq!(broker("kafka-1").unwrap(), "kafka-1:9092");
        assert_eq!(broker("kafka-1:19092").unwrap(), "kafka-1:19092");
        assert_eq!(broker("[::1]:9093").unwrap(), "[::1]:9093");
        assert_eq!(broker("[::1]").unwrap(), "[::1]:9092");
        for wrong in [
            "",
            ":9092",
            "a:b",
            "a:0",
            "::1",
            "a b:1",
            "http://a:1",
            "[::1",
            "[x]:1",
            "a:99999",
        ] {
            assert_eq!(broker(wrong), None, "{wrong}");
        }
    }
}
