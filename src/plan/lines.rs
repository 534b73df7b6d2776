//! What is asked for about lines, as the input obeys it.

use crate::config::Lines;
use crate::input::encoding::Encoding;
use crate::input::frame::settings::{
    FilterSettings, GroupRule, LineEndText, LineSettings, MultilineSettings,
};

/// Of settings that rules have passed; where one has not, its default.
pub(super) fn settings(lines: &Lines) -> LineSettings {
    let text = |pattern: &Option<crate::yaml::Spanned<String>>| {
        pattern.as_ref().map(|pattern| pattern.value.clone())
    };
    LineSettings {
        max_line: lines.max_line.value,
        // Which format it is for is not told here.
        whole_characters: false,
        line_end: match lines.line_end.value.as_str() {
            "lf" => LineEndText::Lf,
            "nul" => LineEndText::Nul,
            text => LineEndText::Text(text.to_owned()),
        },
        encoding: match Encoding::of(&lines.encoding.value) {
            Some(Encoding::Utf8) | None => "utf-8".to_owned(),
            Some(_) => lines.encoding.value.clone(),
        },
        partial_line_timeout: lines.partial_line_timeout,
        multiline: lines.multiline.as_ref().and_then(|multiline| {
            let start = text(&multiline.start).map(GroupRule::Start);
            let next = text(&multiline.r#continue).map(GroupRule::Continue);
            let end = text(&multiline.end).map(GroupRule::End);
            Some(MultilineSettings {
                rule: start.or(next).or(end)?,
                max_lines: multiline.max_lines,
                timeout: multiline.timeout,
            })
        }),
        filter: FilterSettings {
            include: text(&lines.include),
            exclude: text(&lines.exclude),
        },
    }
}
