//! Stores a map by ARN as a list of its values, each with its ARN.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
struct Entry<A, T> {
    arn: A,
    #[serde(flatten)]
    value: T,
}

pub(crate) fn serialize<'a, M, T, S>(map: &'a M, serializer: S) -> Result<S::Ok, S::Error>
where
    &'a M: IntoIterator<Item = (&'a String, &'a T)>,
    T: Serialize + 'a,
    S: Serializer,
{
    serializer.collect_seq(map.into_iter().map(|(arn, value)| Entry { arn, value }))
}

pub(crate) fn deserialize<'de, M, T, D>(deserializer: D) -> Result<M, D::Error>
where
    M: FromIterator<(String, T)>,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let entries = Vec::<Entry<String, T>>::deserialize(deserializer)?.into_iter();
    Ok(entries.map(|entry| (entry.arn, entry.value)).collect())
}
