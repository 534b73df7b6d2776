//! A client and its main queue, as librdkafka has them.

use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::types::RDKafkaType;
use rdkafka_sys as rdsys;

use super::certificate;
use super::event::Event;
use crate::flow::Ring;
use crate::kafka::tls_files::TlsFiles;

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Producer,
    Consumer,
}

/// A librdkafka client whose main queue is ours: delivery reports, errors, logs, statistics and rebalances come out of it as events.
///
/// Invariant: nobody else polls the queue, so no event is lost to a callback.
pub struct Native {
    // Dropped before the client: a queue must not outlive the client it belongs to.
    queue: ManuallyDrop<Queue>,
    client: ManuallyDrop<Client<DefaultClientContext>>,
    kind: Kind,
    /// What it read of certificates.
    tls: TlsFiles,
}

/// A counted reference to one of librdkafka's queues.
pub(super) struct Queue(NonNull<rdsys::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are locked inside; every call on them is documented as thread-safe.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Takes over the reference that `queue` counts for; `None` for a null pointer.
    ///
    /// # Safety
    /// `queue` comes from a call that returned a new reference, or is null.
    pub(super) unsafe fn from_ptr(queue: *mut rdsys::rd_kafka_queue_t) -> Option<Self> {
        NonNull::new(queue).map(Self)
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_queue_t {
        self.0.as_ptr()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference, given back once.
        unsafe { rdsys::rd_kafka_queue_destroy(self.ptr()) }
    }
}

impl Native {
    /// A client with `config`. Connects in the background: brokers that are away are no error here.
    ///
    /// # Errors
    /// librdkafka's text when a property is unknown, has a bad value, or contradicts another one.
    pub fn new(config: &ClientConfig, kind: Kind) -> Result<Self, String> {
        // Before the client reads them: what changes in between is found to be new.
        let tls = TlsFiles::of(config);
        let native = config
            .create_native_config()
            .map_err(|err| err.to_string())?;
        let mut events =
            rdsys::RD_KAFKA_EVENT_ERROR | rdsys::RD_KAFKA_EVENT_LOG | rdsys::RD_KAFKA_EVENT_STATS;
        let native_kind = match kind {
            Kind::Producer => {
                events |= rdsys::RD_KAFKA_EVENT_DR;
                RDKafkaType::RD_KAFKA_PRODUCER
            }
            Kind::Consumer => {
                events |= rdsys::RD_KAFKA_EVENT_REBALANCE | rdsys::RD_KAFKA_EVENT_OFFSET_COMMIT;
                RDKafkaType::RD_KAFKA_CONSUMER
            }
        };
        // SAFETY: the configuration is alive and not handed to a client yet.
        unsafe { rdsys::rd_kafka_conf_set_events(native.ptr(), events) };
        if config.get("enable.ssl.certificate.verification") != Some("false") {
            // SAFETY: as above; the callback keeps nothing and uses nothing of ours.
            unsafe {
                rdsys::rd_kafka_conf_set_ssl_cert_verify_cb(native.ptr(), Some(certificate::verify))
            };
        }
        let client = Client::new(config, native, native_kind, DefaultClientContext)
            .map_err(|err| err.to_string())?;
        // SAFETY: the client is alive; get_main returns a new reference, which Queue owns.
        let queue = unsafe { Queue::from_ptr(rdsys::rd_kafka_queue_get_main(client.native_ptr())) };
        let queue = queue.ok_or("librdkafka gave no main queue")?;
        if kind == Kind::Consumer {
            // SAFETY: the client is alive. From now on what comes for the main queue comes out of the consumer's, in one order.
            unsafe { rdsys::rd_kafka_poll_set_consumer(client.native_ptr()) };
        }
        Ok(Self {
            queue: ManuallyDrop::new(queue),
            client: ManuallyDrop::new(client),
            kind,
            tls,
        })
    }

    /// The next event, or `None` after `timeout` or a ring of a [`QueueBell`]. Waits without spinning.
    pub fn poll(&self, timeout: Duration) -> Option<Event> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is a new one that Event owns.
        unsafe { Event::from_ptr(rdsys::rd_kafka_queue_poll(self.queue.ptr(), millis)) }
    }

    /// The crate's client: metadata, watermarks.
    pub fn client(&self) -> &Client<DefaultClientContext> {
        &self.client
    }

    /// The id of the cluster if it is known within `timeout`.
    pub fn cluster_id(&self, timeout: Duration) -> Option<String> {
        self.client.fetch_cluster_id(timeout)
    }

    /// Whether `config` names other certificates than those that this client read: only a new one takes them.
    pub fn is_outdated(&self, config: &ClientConfig) -> bool {
        self.tls.differ(config)
    }

    /// Logs in from now on with the user and the password of `config`, where it has them: the next try takes them.
    pub fn log_in_as(&self, config: &ClientConfig) {
        let text = |name| CString::new(config.get(name)?).ok();
        if let (Some(user), Some(password)) = (text("sasl.username"), text("sasl.password")) {
            // SAFETY: the client is alive; both texts are copied. It fails only without one of them.
            unsafe {
                rdsys::rd_kafka_sasl_set_credentials(self.ptr(), user.as_ptr(), password.as_ptr())
            };
        }
    }

    /// The fatal error that ended this client, if one did: its code and librdkafka's text.
    pub fn fatal_error(&self) -> Option<String> {
        self.client
            .fatal_error()
            .map(|(code, text)| format!("{code}: {text}"))
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_t {
        self.client.native_ptr()
    }

    pub(super) fn main_queue(&self) -> Option<Queue> {
        // SAFETY: the client is alive; get_main returns a new reference, which Queue owns.
        unsafe { Queue::from_ptr(rdsys::rd_kafka_queue_get_main(self.ptr())) }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // SAFETY: each field is dropped once, here, the queue first. A consumer is not closed while it is destroyed: whoever holds it
        // has closed it within a deadline, and closing it here could wait for ever for the answer to a rebalance. (Of such a client the
        // crate's empty context stays behind: 16 bytes.)
        unsafe {
            ManuallyDrop::drop(&mut self.queue);
            match self.kind {
                Kind::Producer => ManuallyDrop::drop(&mut self.client),
                Kind::Consumer => rdsys::rd_kafka_destroy_flags(
                    self.client.native_ptr(),
                    rdsys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE,
                ),
            }
        }
    }
}

/// Wakes the thread that waits in [`Native::poll`]. Lives longer than any one client: a client that is built anew is put in by
/// [`QueueBell::attach`], and rings that came meanwhile are kept.
#[derive(Default)]
pub struct QueueBell(Mutex<Attached>);

#[derive(Default)]
struct Attached {
    queue: Option<Queue>,
    rung: bool,
}

impl QueueBell {
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on rings wake those who wait on `client`. Call [`QueueBell::detach`] before the client is dropped.
    pub fn attach(&self, client: &Native) {
        let mut attached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        attached.queue = client.main_queue();
        if std::mem::take(&mut attached.rung) {
            attached.ring();
        }
    }

    pub fn detach(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).queue = None;
    }
}

impl Attached {
    fn ring(&mut self) {
        match &self.queue {
            // SAFETY: the queue is alive. The wake-up is kept by librdkafka until the next poll, so it cannot be missed.
            Some(queue) => unsafe { rdsys::rd_kafka_queue_yield(queue.ptr()) },
            None => self.rung = true,
        }
    }
}

impl Ring for QueueBell {
    fn ring(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ring();
    }
}

/// A C string of librdkafka's as text.
///
/// # Safety
/// `text` is null or points to a C string that lives as long as the call.
pub(super) unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .trim()
        .to_string()
}
