//! Entries of a stream.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::handle::Redis;
use crate::{
    error::{Error, Kind},
    redis::{connection::fred_error::was_lost, script::script::Script},
};

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its id: milliseconds and sequence number.
    pub(crate) id: (u64, u64),
    pub(crate) fields: Vec<(Bytes, Bytes)>,
}

impl Record {
    /// The value of a field.
    pub(crate) fn field(&self, name: &[u8]) -> Option<&Bytes> {
        let found = self.fields.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    fn read(value: &Value) -> Option<Self> {
        let [id, fields] = array(value)? else {
            return None;
        };
        let (ms, number) = id
            .as_str()?
            .split_once('-')
            .map(|(ms, number)| (ms.parse(), number.parse()))?;
        let fields = array(fields)?.chunks_exact(2);
        let fields = fields.filter_map(|pair| {
            let bytes = |value: &Value| value.clone().into_bytes();
            Some((bytes(&pair[0])?, bytes(&pair[1])?))
        });
        Some(Self {
            id: (ms.ok()?, number.ok()?),
            fields: fields.collect(),
        })
    }
}

impl Redis {
    /// `XRANGE key from + COUNT count` on a primary: the first `count` entries from `from` on, which is an id, `-`, or `(`
    /// and an id. The stream expires in `life` or later.
    ///
    /// A server that refuses writes refuses this too: a replica, and a primary with fewer replicas than its
    /// `min-replicas-to-write`.
    pub(crate) async fn records(
        &self,
        key: &str,
        from: &str,
        count: usize,
        life: Duration,
    ) -> Result<Vec<Record>, Error> {
        let number = |number: u128| Value::from(i64::try_from(number).unwrap_or(i64::MAX));
        let args = [
            from.into(),
            number(count as u128),
            number(life.as_millis().max(1)),
        ];
        let mut is_repeated = false;
        let reply = loop {
            // In a box: it is a small part of the way of those who carry it.
            match Box::pin(self.run::<(Value,)>(&RECORDS, key, args.clone())).await {
                // To read twice does no harm.
                Err(error) if was_lost(&error) && !is_repeated => is_repeated = true,
                reply => break reply,
            }
        };
        let (reply,) = reply?;
        let records = match &reply {
            Value::Array(records) => records.iter().map(Record::read).collect(),
            Value::Null => Some(Vec::new()),
            _ => None,
        };
        records.ok_or_else(|| Error::new(Kind::Corrupt, "the stream has unexpected entries"))
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

static RECORDS: Script = Script::new(include_str!("lua/records.lua"));
