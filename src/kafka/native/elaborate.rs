//! Records with headers or a timestamp of their own to librdkafka: one by one, since the batch call takes neither.

use std::ffi::{c_int, c_void};

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_vtype_t as VType;

use super::client::Native;
use super::produce::Topic;
use crate::kafka::route::Outgoing;

type Value = rdsys::rd_kafka_vu_s__bindgen_ty_1;

/// Hands one record of `load` to librdkafka, without copying key and value; headers are copied by it.
///
/// # Errors
/// Why librdkafka does not take it; then nothing of it is kept.
///
/// # Safety
/// When it is taken, `load` must neither change nor be freed until its delivery report came or the client is gone.
pub(super) unsafe fn produce(
    client: &Native,
    topic: &Topic,
    partition: i32,
    load: &Outgoing,
    record: usize,
    ticket: *mut c_void,
) -> Result<(), RDKafkaErrorCode> {
    let memory = |bytes: &[u8]| Value {
        mem: rdsys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
            ptr: bytes.as_ptr().cast_mut().cast(),
            size: bytes.len(),
        },
    };
    let mut arguments = Vec::with_capacity(6 + load.batch.extras.header_names.len());
    let mut push = |vtype, u| arguments.push(rdsys::rd_kafka_vu_t { vtype, u });
    push(VType::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.ptr() });
    push(VType::RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition });
    let no_flags: c_int = 0;
    push(VType::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: no_flags });
    push(VType::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: ticket });
    push(
        VType::RD_KAFKA_VTYPE_VALUE,
        memory(load.batch.value(record)),
    );
    if let Some(key) = load.key(record) {
        push(VType::RD_KAFKA_VTYPE_KEY, memory(key));
    }
    if let Some(timestamp) = load.batch.extras.timestamps.get(record) {
        push(VType::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: *timestamp });
    }
    for (name, value) in load.batch.extras.headers_of(record) {
        let header = rdsys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
            name: name.as_ptr(),
            val: value.as_ptr().cast(),
            size: isize::try_from(value.len()).unwrap_or(isize::MAX),
        };
        push(VType::RD_KAFKA_VTYPE_HEADER, Value { header });
    }
    // SAFETY: client and topic are alive, every pointer is into `load`, which holds the names too, and each argument has the type that its tag says.
    // Without F_COPY and F_FREE librdkafka only reads key and value, for which the caller answers; headers are copied before this returns.
    let error =
        unsafe { rdsys::rd_kafka_produceva(client.ptr(), arguments.as_ptr(), arguments.len()) };
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours, and read before it is destroyed.
    let code: RDKafkaRespErr = unsafe {
        let code = rdsys::rd_kafka_error_code(error);
        rdsys::rd_kafka_error_destroy(error);
        code
    };
    Err(code.into())
}
