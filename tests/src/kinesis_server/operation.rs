//! The operations this server knows, and who carries each out.

use super::account::Account;
use super::call_fault::Verdict;
use super::error::{ErrorType, ServiceError};
use super::faults::Faults;
use super::operations::{get_records, iterators, put, reshard, shards, streams};

/// One operation of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `CreateStream`
    CreateStream,
    /// `DeleteStream`
    DeleteStream,
    /// `DescribeStream`
    DescribeStream,
    /// `DescribeStreamSummary`
    DescribeStreamSummary,
    /// `ListStreams`
    ListStreams,
    /// `ListShards`
    ListShards,
    /// `PutRecord`
    PutRecord,
    /// `PutRecords`
    PutRecords,
    /// `GetShardIterator`
    GetShardIterator,
    /// `GetRecords`
    GetRecords,
    /// `SplitShard`
    SplitShard,
    /// `MergeShards`
    MergeShards,
    /// `UpdateShardCount`
    UpdateShardCount,
}

/// What `X-Amz-Target` begins with.
const TARGET_PREFIX: &str = "Kinesis_20131202.";

impl Operation {
    /// The operation that an `X-Amz-Target` header names.
    pub(crate) fn of_target(target: &str) -> Result<Self, ServiceError> {
        let name = target.strip_prefix(TARGET_PREFIX).unwrap_or_default();
        Ok(match name {
            "CreateStream" => Self::CreateStream,
            "DeleteStream" => Self::DeleteStream,
            "DescribeStream" => Self::DescribeStream,
            "DescribeStreamSummary" => Self::DescribeStreamSummary,
            "ListStreams" => Self::ListStreams,
            "ListShards" => Self::ListShards,
            "PutRecord" => Self::PutRecord,
            "PutRecords" => Self::PutRecords,
            "GetShardIterator" => Self::GetShardIterator,
            "GetRecords" => Self::GetRecords,
            "SplitShard" => Self::SplitShard,
            "MergeShards" => Self::MergeShards,
            "UpdateShardCount" => Self::UpdateShardCount,
            _ => {
                let message = format!("unknown operation {target:?}");
                return Err(ServiceError::new(ErrorType::UnknownOperation, message));
            }
        })
    }

    /// Carries the call out and gives the answer's body, empty where the operation answers with none.
    pub(crate) fn carry_out(
        self,
        body: &[u8],
        account: &mut Account,
        faults: &mut Faults,
        verdict: &Verdict,
        now_ms: u64,
    ) -> Result<Vec<u8>, ServiceError> {
        match self {
            Self::CreateStream => streams::create(body, account, now_ms),
            Self::DeleteStream => streams::delete(body, account),
            Self::DescribeStream => streams::describe(body, account),
            Self::DescribeStreamSummary => streams::summary(body, account),
            Self::ListStreams => streams::list(body, account),
            Self::ListShards => shards::list(body, account),
            Self::PutRecord => put::one(body, account, now_ms),
            Self::PutRecords => put::many(body, account, faults, verdict.more_results, now_ms),
            Self::GetShardIterator => iterators::get(body, account, now_ms),
            Self::GetRecords => get_records::get(body, account, now_ms),
            Self::SplitShard => reshard::split(body, account, now_ms),
            Self::MergeShards => reshard::merge(body, account, now_ms),
            Self::UpdateShardCount => reshard::update_count(body, account, now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_its_operation() {
        assert_eq!(Operation::of_target("Kinesis_20131202.PutRecords"), Ok(Operation::PutRecords));
    }

    #[test]
    fn a_foreign_target_is_an_unknown_operation() {
        for target in ["", "PutRecords", "DynamoDB_20120810.PutItem", "Kinesis_20131202.Nothing"] {
            let kind = Operation::of_target(target).map_err(|error| error.kind);
            assert_eq!(kind, Err(ErrorType::UnknownOperation), "{target:?}");
        }
    }
}
