//! The service after the login without an upstream: it serves the requests with which drivers and
//! `cqlsh` connect, so that logins can be tested without a Cassandra.
//!
//! There is one node, which is the gateway, and no keyspace. `SELECT` reads columns of the tables
//! below, prepared or not. Every other statement is invalid.

use std::net::IpAddr;

use bytes::BufMut as _;
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use crate::{
    channel::Channel,
    envelope::{
        Envelope, Failure, VERSIONS, code, get_bytes, get_short_bytes, opcode, put_short_bytes,
        put_string,
    },
    handshake::{CQL_VERSION, supported},
};

/// The maximum length of a message, in bytes, without its header.
const LIMIT: usize = 128 * 1024;

/// The version of Cassandra that has the tables below.
const RELEASE: &str = "5.0.0";
const HOST_ID: Uuid = Uuid::from_u128(0x0c4f_27a1_6d80_4b8e_9a53_1be2_60f7_d3c5);
const SCHEMA_VERSION: Uuid = Uuid::from_u128(0x9e1d_5b36_02f8_4c7a_8d44_f3a9_17c0_6e2b);

/// The tables without rows, as there is no other node and no schema. They list only the columns
/// that drivers select by name.
const EMPTY: &[(&str, &str)] = &[
    (
        "system.peers",
        "peer inet, data_center text, host_id uuid, preferred_ip inet, rack text, \
         release_version text, rpc_address inet, schema_version uuid, tokens set<text>",
    ),
    (
        "system.peers_v2",
        "peer inet, peer_port int, data_center text, host_id uuid, native_address inet, \
         native_port int, rack text, release_version text, schema_version uuid, tokens set<text>",
    ),
    (
        "system_schema.keyspaces",
        "keyspace_name text, durable_writes boolean, replication map<text,text>",
    ),
    ("system_schema.tables", "keyspace_name text, table_name text"),
    (
        "system_schema.columns",
        "keyspace_name text, table_name text, column_name text, kind text, position int, type text",
    ),
    (
        "system_schema.types",
        "keyspace_name text, type_name text, field_names list<text>, field_types list<text>",
    ),
    ("system_schema.functions", "keyspace_name text, function_name text"),
    ("system_schema.aggregates", "keyspace_name text, aggregate_name text"),
    ("system_schema.triggers", "keyspace_name text, table_name text, trigger_name text"),
    ("system_schema.indexes", "keyspace_name text, table_name text, index_name text"),
    ("system_schema.views", "keyspace_name text, view_name text, base_table_name text"),
    ("system_virtual_schema.keyspaces", "keyspace_name text"),
    ("system_virtual_schema.tables", "keyspace_name text, table_name text"),
    ("system_virtual_schema.columns", "keyspace_name text, table_name text, column_name text"),
];

/// The row of `system.local`.
fn local(address: IpAddr) -> Vec<Column> {
    let inet = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    // One token, which owns the whole ring.
    let tokens = [&1_i32.to_be_bytes()[..], &1_i32.to_be_bytes(), b"0"].concat();
    let text = |text: &str| text.as_bytes().to_vec();
    let row = [
        ("key text", text("local")),
        ("bootstrapped text", text("COMPLETED")),
        ("broadcast_address inet", inet.clone()),
        ("cluster_name text", text("cassandra_gateway")),
        ("cql_version text", text(CQL_VERSION)),
        ("data_center text", text("datacenter1")),
        ("host_id uuid", HOST_ID.into_bytes().to_vec()),
        ("listen_address inet", inet.clone()),
        ("native_protocol_version text", VERSIONS.end().to_string().into_bytes()),
        ("partitioner text", text("org.apache.cassandra.dht.Murmur3Partitioner")),
        ("rack text", text("rack1")),
        ("release_version text", text(RELEASE)),
        ("rpc_address inet", inet),
        ("schema_version uuid", SCHEMA_VERSION.into_bytes().to_vec()),
        ("tokens set<text>", tokens),
    ];
    row.into_iter().filter_map(|(column, value)| Column::new(column, Some(value))).collect()
}

/// A column of a result, with its value if there is a row.
#[derive(Clone)]
struct Column {
    name: &'static str,
    kind: &'static str,
    value: Option<Vec<u8>>,
}

impl Column {
    fn new(column: &'static str, value: Option<Vec<u8>>) -> Option<Self> {
        let (name, kind) = column.split_once(' ')?;
        Some(Self { name, kind, value })
    }

    /// The type in the protocol: the id of the type, and of the type of its elements.
    fn type_ids(&self) -> &'static [u16] {
        match self.kind {
            "boolean" => &[0x04],
            "int" => &[0x09],
            "uuid" => &[0x0C],
            "inet" => &[0x10],
            "list<text>" => &[0x20, 0x0D],
            "map<text,text>" => &[0x21, 0x0D, 0x0D],
            "set<text>" => &[0x22, 0x0D],
            _ => &[0x0D],
        }
    }
}

/// Serves requests until the client disconnects.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut channel: Channel<S>,
    address: IpAddr,
) {
    channel.limit = LIMIT;
    loop {
        let response = match channel.read().await {
            Ok(Some(request)) => response(&request, address),
            Ok(None) => return,
            Err(failure) => Err(failure),
        };
        match response {
            Ok(response) => {
                if channel.write(&response).await.is_err() {
                    return;
                }
            }
            Err(failure) => return channel.fail(failure).await,
        }
    }
}

/// `address` is the gateway's address from the client's view.
fn response(request: &Envelope, address: IpAddr) -> Result<Envelope, Failure> {
    const ROWS: i32 = 2;
    const PREPARED: i32 = 4;

    let mut body = &request.body[..];
    let statement = match request.opcode {
        opcode::OPTIONS => {
            return Ok(request.reply(opcode::SUPPORTED, supported(&VERSIONS)));
        }
        // There are no events.
        opcode::REGISTER => return Ok(request.reply(opcode::READY, Vec::new())),
        opcode::QUERY | opcode::PREPARE => get_bytes(&mut body),
        // A prepared statement is its own id, so that no state is kept for it.
        opcode::EXECUTE => get_short_bytes(&mut body),
        other => {
            return Err(request.fail(code::PROTOCOL, &format!("unexpected message {other}")));
        }
    };
    let Some(statement) = statement.and_then(|bytes| str::from_utf8(bytes).ok()) else {
        return Err(request.fail(code::PROTOCOL, "the statement cannot be read"));
    };
    let Some(result) = Selected::by(statement, address) else {
        let message =
            "there is no upstream: only the queries that drivers send to connect are supported";
        return Ok(request.error(code::INVALID, message));
    };
    let mut body = Vec::new();
    if request.opcode == opcode::PREPARE {
        body.put_i32(PREPARED);
        put_short_bytes(&mut body, statement.as_bytes());
        if request.version >= 5 {
            // The id of the result's columns, which never change.
            put_short_bytes(&mut body, &[0]);
        }
        // No flags, no bound values, and from version 4 on no partition key among them.
        body.put_bytes(0, if request.version >= 4 { 12 } else { 8 });
        result.put_columns(&mut body);
    } else {
        body.put_i32(ROWS);
        result.put_columns(&mut body);
        result.put_row(&mut body);
    }
    Ok(request.reply(opcode::RESULT, body))
}

/// The result of a `SELECT`.
struct Selected<'a> {
    keyspace: &'a str,
    table: &'a str,
    columns: Vec<Column>,
}

impl<'a> Selected<'a> {
    /// `None` for a statement that is not supported.
    fn by(statement: &'a str, address: IpAddr) -> Option<Self> {
        let mut words = statement.trim_end().trim_end_matches(';').split_ascii_whitespace();
        words.next().filter(|word| word.eq_ignore_ascii_case("select"))?;
        let names = words.by_ref().take_while(|word| !word.eq_ignore_ascii_case("from"));
        let names: String = names.collect();
        let name = words.next()?;
        let condition: String = match words.next() {
            None => String::new(),
            Some(word) if word.eq_ignore_ascii_case("where") => words.collect(),
            Some(_) => return None,
        };

        let all: Vec<_> = if name.eq_ignore_ascii_case("system.local") {
            if !["", "key='local'"].contains(&&*condition) {
                return None;
            }
            local(address)
        } else {
            // Every condition matches no row. But a bound value would have to be read.
            if condition.contains('?') {
                return None;
            }
            let (_, columns) = EMPTY.iter().find(|(table, _)| name.eq_ignore_ascii_case(table))?;
            columns.split(", ").filter_map(|column| Column::new(column, None)).collect()
        };
        let find = |name: &str| all.iter().find(|column| name.eq_ignore_ascii_case(column.name));
        let columns = match &*names {
            "*" => all,
            names => names.split(',').map(|name| find(name).cloned()).collect::<Option<_>>()?,
        };
        let (keyspace, table) = name.split_once('.')?;
        Some(Self { keyspace, table, columns })
    }

    fn put_columns(&self, body: &mut Vec<u8>) {
        const OF_ONE_TABLE: i32 = 1;

        body.put_i32(OF_ONE_TABLE);
        put_length(body, self.columns.len());
        put_string(body, self.keyspace);
        put_string(body, self.table);
        for column in &self.columns {
            put_string(body, column.name);
            for id in column.type_ids() {
                body.put_u16(*id);
            }
        }
    }

    fn put_row(&self, body: &mut Vec<u8>) {
        let values: Vec<_> = self.columns.iter().filter_map(|it| it.value.as_ref()).collect();
        body.put_i32(i32::from(!values.is_empty()));
        for value in values {
            put_length(body, value.len());
            body.put_slice(value);
        }
    }
}

fn put_length(body: &mut Vec<u8>, length: usize) {
    body.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
}
