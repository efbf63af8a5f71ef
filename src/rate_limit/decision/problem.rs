//! The bodies of responses to denied requests and of 503 responses: problem details (RFC 9457) or plain text.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{decision::Denial, standing::Standing};

/// The body of a response that this layer makes, and its media type.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) body: String,
    pub(crate) media_type: HeaderValue,
}

/// For a denial that is answered with `status`: the problem of draft-ietf-httpapi-ratelimit-headers-11 §5.1 if the
/// client accepts one, else plain text.
pub(crate) fn denied(request: &HeaderMap, denial: &Denial, status: StatusCode) -> Text {
    let is_permanent = denial.is_permanent();
    if !takes_problems(request) {
        return plain(match is_permanent {
            true => "the request costs more than its quota ever allows\n",
            false => "too many requests\n",
        });
    }
    let violated: Vec<&str> = denial.violated().map(Standing::policy).collect();
    let (title, detail) = match is_permanent {
        true => (
            "Cost above the quota",
            "The request costs more than the quota ever allows.",
        ),
        false => ("Too many requests", "The quota is used up for now."),
    };
    problem(&json!({
        "type": QUOTA_EXCEEDED,
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "violated-policies": violated,
    }))
}

/// For a request that cannot be decided: the problem of draft 11 §5.2 if the client accepts one, else plain text.
pub(crate) fn unavailable(request: &HeaderMap) -> Text {
    if !takes_problems(request) {
        return plain("rate limits cannot be checked at the moment\n");
    }
    problem(&json!({
        "type": REDUCED_CAPACITY,
        "title": "Temporarily reduced capacity",
        "status": StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        "detail": "Rate limits cannot be checked at the moment.",
    }))
}

pub(crate) fn plain(text: &str) -> Text {
    Text {
        body: text.to_owned(),
        media_type: HeaderValue::from_static("text/plain; charset=utf-8"),
    }
}

fn problem(members: &serde_json::Value) -> Text {
    Text {
        body: members.to_string(),
        // RFC 9457 §3
        media_type: HeaderValue::from_static("application/problem+json"),
    }
}

/// Whether the client accepts problem details, and does not prefer text or HTML.
fn takes_problems(request: &HeaderMap) -> bool {
    // RFC 9110 §12.5.1: without the field the client accepts any media type
    if !request.contains_key(header::ACCEPT) {
        return true;
    }
    let lines = request.get_all(header::ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let ranges: Vec<(String, u16)> = lines.flat_map(|line| line.split(',')).map(range).collect();
    let quality = |types: &[&str]| {
        let find = |wanted: &&str| ranges.iter().find(|(range, _)| range == wanted);
        types
            .iter()
            .find_map(find)
            .map_or(0, |(_, quality)| *quality)
    };
    // RFC 9110 §12.5.1: the most specific range decides
    let problem = quality(&[
        "application/problem+json",
        "application/json",
        "application/*",
        "*/*",
    ]);
    let text = quality(&["text/plain", "text/*", "*/*"]);
    // This layer makes no HTML: a browser gets plain text.
    problem > 0 && problem >= text && problem >= quality(&["text/html"])
}

/// A media range without parameters, in lower case, and its quality in thousandths.
fn range(text: &str) -> (String, u16) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default().to_ascii_lowercase();
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let quality = quality.map_or(Some(1.0), |value| value.parse::<f32>().ok());
    // A quality that is not a number counts as 0.
    let thousandths = quality.map_or(0.0, |quality| (quality * 1_000.0).clamp(0.0, 1_000.0));
    (range, thousandths as u16)
}

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_for_clients_that_take_them() {
        let takes = |accept: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(
                    header::ACCEPT,
                    HeaderValue::from_str(line).expect("a value"),
                );
            }
            takes_problems(&headers)
        };
        for accept in [
            // No field at all was read as a list of nothing.
            &[][..],
            &["application/problem+json"],
            &["Application/JSON; charset=utf-8"],
            &["*/*"],
            &["application/*;q=0.1"],
            &["text/plain;q=0.5, application/problem+json"],
            &["text/plain;q=0.1", "application/json;q=0.2"],
        ] {
            assert!(takes(accept), "{accept:?}");
        }
        for accept in [
            &[""][..],
            &["text/plain"],
            &["text/html, application/xhtml+xml, */*;q=0.8"],
            &["application/problem+json;q=0"],
            &["application/problem+json;q=0, */*"],
            &["application/json;q=nan"],
            &["application/json;q=x"],
            &["text/plain, application/problem+json;q=0.5"],
        ] {
            assert!(!takes(accept), "{accept:?}");
        }
    }
}
