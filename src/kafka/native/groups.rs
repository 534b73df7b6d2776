//! The groups that there are, from every broker that coordinates some.
//!
//! This asks each broker for its own groups and then the same one about them: no coordinator is looked for, so none can go away in between.
//! It knows groups of every protocol, but only of the classic one their members.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, text};
use super::offsets::words;

/// A group as its broker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeGroup {
    pub name: String,
    /// `Stable`, `Empty` ...; `Dead` also for a group of another protocol than the classic one.
    pub state: String,
    pub protocol_type: String,
    pub protocol: String,
    pub coordinator: i32,
    pub error: Option<(RDKafkaErrorCode, String)>,
    pub members: Vec<NativeMember>,
}

/// A member as the coordinator has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeMember {
    pub id: String,
    pub client_id: String,
    pub host: String,
    /// In the form of the group's protocol.
    pub assignment: Vec<u8>,
}

impl Native {
    /// All groups, or the one that is named; and whether all brokers have answered. Waits for them, at most `timeout`.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn groups(
        &self,
        group: Option<&str>,
        timeout: Duration,
    ) -> Result<(Vec<NativeGroup>, bool), (RDKafkaErrorCode, String)> {
        let name = group.map(CString::new).transpose().map_err(|_| {
            let text = "a group's name has a NUL byte".to_owned();
            (RDKafkaErrorCode::InvalidArgument, text)
        })?;
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut list = std::ptr::null();
        // SAFETY: client and name are alive; the list that comes back is copied and freed here, once.
        unsafe {
            let code = rdsys::rd_kafka_list_groups(
                self.ptr(),
                name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
                &mut list,
                millis,
            );
            let some_are_missing = code == rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTIAL;
            if let Some(text) = words(code)
                && !some_are_missing
            {
                return Err((code.into(), text));
            }
            if list.is_null() {
                return Ok((Vec::new(), !some_are_missing));
            }
            let count = usize::try_from((*list).group_cnt).unwrap_or(0);
            let groups = (0..count)
                .map(|at| copied(&*(*list).groups.add(at)))
                .collect();
            rdsys::rd_kafka_group_list_destroy(list);
            Ok((groups, !some_are_missing))
        }
    }
}

/// # Safety
/// The group's pointers are valid.
unsafe fn copied(group: &rdsys::rd_kafka_group_info) -> NativeGroup {
    // SAFETY: the caller's promise; `members` has `member_cnt` elements.
    unsafe {
        let count = usize::try_from(group.member_cnt).unwrap_or(0);
        let members = (0..count)
            .map(|at| {
                let member = &*group.members.add(at);
                let size = usize::try_from(member.member_assignment_size).unwrap_or(0);
                NativeMember {
                    id: text(member.member_id),
                    client_id: text(member.client_id),
                    host: text(member.client_host),
                    assignment: if member.member_assignment.is_null() || size == 0 {
                        Vec::new()
                    } else {
                        std::slice::from_raw_parts(member.member_assignment.cast::<u8>(), size)
                            .to_vec()
                    },
                }
            })
            .collect();
        NativeGroup {
            name: text(group.group),
            state: text(group.state),
            protocol_type: text(group.protocol_type),
            protocol: text(group.protocol),
            coordinator: group.broker.id,
            error: words(group.err).map(|text| (group.err.into(), text)),
            members,
        }
    }
}
