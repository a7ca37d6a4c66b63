//! In which form a client wants its answer (`apiserver/pkg/endpoints/handlers/negotiation`). Of several
//! forms the first that can be given counts; the operator asks for plain JSON, kubectl for tables.

use jiff::Timestamp;

use crate::{
    handle::Form,
    path::Query,
    status::{Failure, Outcome},
    table::Include,
};

/// The media type of aggregated discovery.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One of the forms that a client takes.
struct Clause<'a> {
    media: &'a str,
    /// `as`, `g` and `v`.
    convert: [&'a str; 3],
}

fn clauses(accept: &str) -> impl Iterator<Item = Clause<'_>> {
    accept.split(',').map(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut convert = [""; 3];
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if let Some(at) = ["as", "g", "v"].iter().position(|known| *known == name) {
                convert[at] = value;
            }
        }
        Clause { media, convert }
    })
}

/// The form of objects and lists.
pub(crate) fn form(accept: &str, query: &Query, now: Timestamp) -> Outcome<Form> {
    for Clause { media, convert } in clauses(accept) {
        if !matches!(media, "" | "*/*" | "application/*" | "application/json") {
            continue;
        }
        match convert {
            ["", ..] => return Ok(Form::Whole),
            ["PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1"] => {
                return Ok(Form::Metadata);
            }
            ["Table", "meta.k8s.io", "v1"] => {
                let include = Include::of(query.get("includeObject"))?;
                return Ok(Form::Table { now, include });
            }
            _ => {}
        }
    }
    let known = ["application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
    if clauses(accept).any(|clause| known.contains(&clause.media) || !clause.convert[0].is_empty())
    {
        return Err(Failure::not_simulated(format!("answers of the type {accept}")));
    }
    Err(Failure::not_acceptable())
}

/// True for a client that takes all of discovery in one answer.
pub(crate) fn is_aggregated(accept: &str) -> bool {
    let json = |media: &str| matches!(media, "*/*" | "application/*" | "application/json");
    let mut usable = clauses(accept).filter(|clause| json(clause.media));
    let wanted = ["APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"];
    let mut known = usable.by_ref().filter(|c| c.convert[0].is_empty() || c.convert == wanted);
    known.next().is_some_and(|clause| clause.convert == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Outcome<Form> {
        form(accept, &Query::default(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_first_form_that_can_be_given_counts() {
        let table = Form::Table { now: Timestamp::UNIX_EPOCH, include: Include::Metadata };
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(kubectl), Ok(table));
        assert_eq!(of(""), Ok(Form::Whole));
        assert_eq!(of("application/vnd.kubernetes.protobuf, application/json"), Ok(Form::Whole));
        assert_eq!(of("application/json;as=Chair;v=v1;g=meta.k8s.io, */*"), Ok(Form::Whole));
        let metadata = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(of(metadata), Ok(Form::Metadata));
        assert_eq!(of("text/html").unwrap_err().code, 406);
        assert_eq!(of("application/yaml").unwrap_err().code, 501, "said, and not sent as JSON");
    }

    #[test]
    fn discovery_is_aggregated_for_whoever_prefers_it() {
        assert!(is_aggregated(&format!("{AGGREGATED},application/json")));
        let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert!(is_aggregated(&format!("{older},{AGGREGATED}")));
        assert!(!is_aggregated(&format!("application/json,{AGGREGATED}")));
        assert!(!is_aggregated("") && !is_aggregated(older));
    }
}
