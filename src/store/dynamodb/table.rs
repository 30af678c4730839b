//! Creating the table, and checking one that exists.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, MultiRegionConsistency,
    ScalarAttributeType, TableDescription, TableStatus,
};

use super::{
    DynamoDbError,
    error::Failure,
    items::{self, ABSENT, FORMAT, PARTITION, PrimaryKey, SORT},
    requests::{Requests, invalid, longest_pause},
};
use crate::store::pause::pause;

/// The maximum number of reads of the state of a table that is being created. With the pauses, they
/// take at least two minutes on average.
const READS: u32 = 256;

const KEYS: [(&str, KeyType); 2] = [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)];

impl Requests {
    pub(super) async fn create_table(&self) -> Result<(), DynamoDbError> {
        self.create().await?;
        let mut read = 1;
        while let Err(error) = self.describe().await {
            // A table may be missing for a moment after its creation.
            let waits = matches!(error, DynamoDbError::NotActive(_) | DynamoDbError::TableMissing);
            if !waits || read >= READS {
                return Err(error);
            }
            pause(longest_pause(read)).await;
            read += 1;
        }
        match self.check_format().await {
            Err(DynamoDbError::FormatMissing) => self.put_format().await,
            checked => checked,
        }
    }

    pub(super) async fn check_table(&self) -> Result<(), DynamoDbError> {
        self.describe().await?;
        self.check_format().await
    }

    /// Creates the table unless it exists.
    async fn create(&self) -> Result<(), DynamoDbError> {
        let mut request = self
            .client
            .create_table()
            .table_name(self.table())
            .billing_mode(BillingMode::PayPerRequest)
            .deletion_protection_enabled(true);
        for (name, role) in KEYS {
            let attribute = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::B);
            let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
            request = request
                .attribute_definitions(attribute.build().map_err(invalid)?)
                .key_schema(key.build().map_err(invalid)?);
        }
        let created = self.repeat(|| async {
            match request.clone().send().await {
                Ok(_) => Ok(()),
                Err(error) => match error.as_service_error() {
                    Some(known) if known.is_resource_in_use_exception() => Ok(()),
                    _ => Err(Failure::of(error)),
                },
            }
        });
        created.await
    }

    async fn describe(&self) -> Result<(), DynamoDbError> {
        let request = self.client.describe_table().table_name(self.table());
        let described = self.repeat(|| async { request.clone().send().await.map_err(Failure::of) });
        let table = described.await?.table.ok_or(DynamoDbError::TableMissing)?;
        check_description(&table)
    }

    async fn check_format(&self) -> Result<(), DynamoDbError> {
        let item = self.get(PrimaryKey::format()).await?.ok_or(DynamoDbError::FormatMissing)?;
        match items::format(&item)? {
            FORMAT => Ok(()),
            other => Err(DynamoDbError::LaterFormat(other)),
        }
    }

    async fn put_format(&self) -> Result<(), DynamoDbError> {
        let request = self
            .client
            .put_item()
            .table_name(self.table())
            .set_item(Some(items::format_item()))
            .condition_expression(ABSENT);
        let put = self.repeat(|| async {
            match request.clone().send().await {
                Ok(_) => Ok(()),
                Err(error) => match error.as_service_error() {
                    // Another process wrote it first.
                    Some(known) if known.is_conditional_check_failed_exception() => Ok(()),
                    _ => Err(Failure::of(error)),
                },
            }
        });
        put.await?;
        self.check_format().await
    }
}

fn check_description(table: &TableDescription) -> Result<(), DynamoDbError> {
    let keys = table.key_schema();
    let has_keys = keys.len() == KEYS.len()
        && keys
            .iter()
            .zip(KEYS)
            .all(|(key, (name, role))| key.attribute_name() == name && *key.key_type() == role);
    let is_binary = |(name, _): &(&str, KeyType)| {
        table.attribute_definitions().iter().any(|attribute| {
            attribute.attribute_name() == *name
                && *attribute.attribute_type() == ScalarAttributeType::B
        })
    };
    if !has_keys || !KEYS.iter().all(is_binary) {
        return Err(DynamoDbError::WrongTable(
            "its keys are not `pk` and `sk`, both binary, for partitioning and for sorting",
        ));
    }
    if table.multi_region_consistency() == Some(&MultiRegionConsistency::Strong) {
        return Err(DynamoDbError::WrongTable(
            "it is a global table of strong consistency, which has no transactions",
        ));
    }
    match table.table_status() {
        None | Some(TableStatus::Active | TableStatus::Updating) => Ok(()),
        Some(status) => Err(DynamoDbError::NotActive(status.as_str().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: KeyType = KeyType::Hash;
    const RANGE: KeyType = KeyType::Range;
    const B: ScalarAttributeType = ScalarAttributeType::B;
    const S: ScalarAttributeType = ScalarAttributeType::S;

    fn table(keys: &[(&str, KeyType, ScalarAttributeType)]) -> TableDescription {
        let mut table = TableDescription::builder().table_status(TableStatus::Active);
        for (name, role, of) in keys {
            let key = KeySchemaElement::builder().attribute_name(*name).key_type(role.clone());
            let attribute =
                AttributeDefinition::builder().attribute_name(*name).attribute_type(of.clone());
            table = table
                .key_schema(key.build().unwrap())
                .attribute_definitions(attribute.build().unwrap());
        }
        table.build()
    }

    #[test]
    fn a_table_has_two_binary_keys() {
        check_description(&table(&[("pk", HASH, B), ("sk", RANGE, B)])).unwrap();
        for keys in [
            &[][..],
            &[("pk", HASH, B)],
            &[("pk", HASH, S), ("sk", RANGE, B)],
            &[("pk", HASH, B), ("sk", RANGE, S)],
            &[("pk", HASH, B), ("other", RANGE, B)],
            &[("other", HASH, B), ("sk", RANGE, B)],
            &[("pk", RANGE, B), ("sk", HASH, B)],
            &[("sk", HASH, B), ("pk", RANGE, B)],
        ] {
            let error = check_description(&table(keys)).unwrap_err();
            assert!(matches!(error, DynamoDbError::WrongTable(_)), "{keys:?}");
        }
    }

    #[test]
    fn a_table_is_active_and_has_transactions() {
        let described = |status: TableStatus, consistency: Option<MultiRegionConsistency>| {
            let mut table = table(&[("pk", HASH, B), ("sk", RANGE, B)]);
            table.table_status = Some(status);
            table.multi_region_consistency = consistency;
            check_description(&table)
        };
        described(TableStatus::Active, None).unwrap();
        described(TableStatus::Active, Some(MultiRegionConsistency::Eventual)).unwrap();
        let strong = described(TableStatus::Active, Some(MultiRegionConsistency::Strong));
        assert!(matches!(strong, Err(DynamoDbError::WrongTable(_))));
        let creating = described(TableStatus::Creating, None);
        assert!(matches!(creating, Err(DynamoDbError::NotActive(_))));
    }
}
