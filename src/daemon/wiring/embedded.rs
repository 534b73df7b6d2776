//! The brokers in this process, for clusters with `brokers: embedded`.
//!
//! Each is there, with the topics that the plan names, before anything connects.

use crate::kafka::embedded::Embedded;
use crate::kafka::settings::{Brokers, ClusterSettings};
use crate::plan::Plan;
use crate::template::{Part as Placeholder, Template};

/// The embedded brokers, one per cluster that asks for one, by the cluster's name.
pub(super) struct InProcess(Vec<(String, Embedded)>);

impl InProcess {
    /// Starts them, with the topics that the plan names: a group that joins before its topic exists waits long for it.
    pub fn start(plan: &Plan) -> Result<Self, String> {
        let mut brokers = Self(Vec::new());
        for input in &plan.inputs {
            let topic = Template::parse(&input.route.topic, Placeholder::FILE).ok();
            let topic = topic.as_ref().and_then(|topic| topic.constant());
            brokers.prepare(&plan.producers[input.producer].cluster, topic)?;
        }
        for output in &plan.outputs {
            for topic in output
                .from
                .topics
                .iter()
                .filter(|topic| !topic.starts_with('^'))
            {
                brokers.prepare(&output.from.cluster, Some(topic))?;
            }
        }
        Ok(brokers)
    }

    fn prepare(&mut self, cluster: &ClusterSettings, topic: Option<&str>) -> Result<(), String> {
        if cluster.brokers != Brokers::Embedded {
            return Ok(());
        }
        if !self.0.iter().any(|(name, _)| *name == cluster.name) {
            self.0.push((cluster.name.clone(), Embedded::start()?));
        }
        if let (Some((_, broker)), Some(topic)) =
            (self.0.iter().find(|(name, _)| *name == cluster.name), topic)
        {
            broker.make_topic(topic);
        }
        Ok(())
    }

    /// `HOST:PORT,...` of a cluster.
    pub fn bootstrap(&self, cluster: &ClusterSettings) -> String {
        match &cluster.brokers {
            Brokers::Addresses(addresses) => addresses.join(","),
            Brokers::Embedded => self
                .0
                .iter()
                .find(|(name, _)| *name == cluster.name)
                .map(|(_, broker)| broker.bootstrap())
                .unwrap_or_default(),
        }
    }

    /// The brokers themselves: they live as long as they are kept.
    pub fn into_brokers(self) -> Vec<Embedded> {
        self.0.into_iter().map(|(_, broker)| broker).collect()
    }
}
