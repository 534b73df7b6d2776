//! What is wrong with names, said once per change of state.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::look::Kind;

/// Names that something is wrong with.
#[derive(Debug, Default)]
pub struct Troubles {
    said: HashMap<PathBuf, Said>,
}

#[derive(Debug)]
struct Said {
    what: String,
    /// The sweep that met it last.
    sweep: u64,
}

impl Troubles {
    /// A file or folder cannot be read.
    pub fn cannot_read(&mut self, path: &Path, error: &io::Error, sweep: u64) {
        if !self.is_new(path, error.to_string(), sweep) {
            return;
        }
        let path = path.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            tracing::warn!(%path, %error, "no permission to read; give the daemon's user the right to read it (a group, an ACL, or CAP_DAC_READ_SEARCH); it is tried again every second");
        } else if is_out_of_descriptors(error) {
            tracing::warn!(%path, %error, "too many files are open; raise the limit (LimitNOFILE= in the service, `ulimit -n` in a shell); it is tried again every second");
        } else {
            tracing::warn!(%path, %error, "cannot be read; it is tried again every second");
        }
    }

    /// Something else stands where a file is expected.
    pub fn no_file(&mut self, path: &Path, kind: Kind, sweep: u64) {
        let what = match kind {
            Kind::Folder => "a directory",
            _ => "a socket, pipe or device",
        };
        if self.is_new(path, what.to_owned(), sweep) {
            tracing::warn!(path = %path.display(), "{what} stands where a file is expected; correct `paths`, or add it to `exclude`");
        }
    }

    /// The name leads to a file that can be read.
    pub fn over(&mut self, path: &Path) {
        if self.said.remove(path).is_some() {
            tracing::info!(path = %path.display(), "can be read now");
        }
    }

    /// Forgets what the given sweep did not meet: should it come back, it is said again.
    pub fn forget_before(&mut self, sweep: u64) {
        self.said.retain(|_, said| said.sweep >= sweep);
    }

    fn is_new(&mut self, path: &Path, what: String, sweep: u64) -> bool {
        if let Some(said) = self.said.get_mut(path)
            && said.what == what
        {
            said.sweep = sweep;
            return false;
        }
        self.said.insert(path.to_path_buf(), Said { what, sweep });
        true
    }
}

/// The process or the system has no descriptor left; says nothing about the file.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let full = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| full.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_new_once_per_change_and_again_after_it_was_over() {
        let mut troubles = Troubles::default();
        let path = Path::new("/a");
        assert!(troubles.is_new(path, "denied".into(), 1));
        assert!(!troubles.is_new(path, "denied".into(), 2));
        assert!(troubles.is_new(path, "a directory".into(), 3));
        troubles.forget_before(3);
        assert!(!troubles.is_new(path, "a directory".into(), 4));
        troubles.over(path);
        assert!(troubles.is_new(path, "a directory".into(), 5));
        troubles.forget_before(7);
        assert!(troubles.is_new(path, "a directory".into(), 7));
    }
}
