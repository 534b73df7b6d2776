//! What is made of an input's lines: topic, key, headers and value, as the input obeys it.

use super::names::Names;
use crate::config::{Input, Property, RecordFormat, Route};
use crate::input::dress::settings::{DressSettings, Format, OnRefused};
use crate::kafka::settings;
use crate::template::{Part, Template};

/// Of settings that rules have passed.
pub(super) fn settings(names: &Names<'_>, input: &Input, to: &Route) -> Option<DressSettings> {
    let mut headers = Vec::new();
    for header in &to.headers {
        let value = names.template(input, &header.value).ok()?;
        headers.push((header.name.value.clone(), value.source()));
    }
    let pair = |property: &Property| (property.name.value.clone(), property.value.value.clone());
    Some(DressSettings {
        topic: names.topic(input).ok()??.source(),
        key: names.key(input).ok()?.map(|key| key.source()),
        place: names.place(input).ok()?.map(|place| place.source()),
        headers,
        format: match &to.format {
            RecordFormat::Raw => Format::Raw,
            RecordFormat::Json => Format::Json,
            RecordFormat::Template(text) => {
                Format::Template(names.template(input, text).ok()?.source())
            }
        },
        fields: to.fields.iter().map(pair).collect(),
        timestamp: to.event_time.value.then_some(to.range),
        on_refused: match to.on_refused {
            settings::OnRefused::DeadLetter => OnRefused::DeadLetter,
            settings::OnRefused::Stop => OnRefused::Stop,
            settings::OnRefused::Drop => OnRefused::Drop,
        },
        max_record: to.max_record.value,
    })
}

/// Whether records are the lines as they are, for one topic, with a key at most that the route can make: then the input makes nothing.
pub(super) fn is_plain(names: &Names<'_>, input: &Input, to: &Route) -> bool {
    let topic = names.topic(input).ok().flatten();
    let texts = [names.key(input), names.place(input)];
    let mut texts = texts.into_iter().filter_map(|text| text.ok().flatten());
    let is_constant = |topic: &Template| topic.constant().is_some();
    topic.as_ref().is_none_or(is_constant)
        && !texts.any(|text| text.uses(Part::Json))
        && to.headers.is_empty()
        && to.format == RecordFormat::Raw
}
