//! Checks the shape of JSON bodies and says what is wrong in WAHA's words: `config.webhooks.0.url must be a URL address`.
//!
//! Collects every problem instead of stopping at the first. Never converts: that is serde's part, after the check.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use url::Url;

/// The fields of one JSON object, and the problems found so far.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Before the name of each field: empty, or `config.webhooks.0.`.
    prefix: String,
    problems: &'a mut Vec<String>,
}

/// Checks a body and returns every problem; none means that it can be converted.
pub(crate) fn problems(body: &Value, check: impl FnOnce(&mut Fields<'_>)) -> Vec<String> {
    let mut problems = Vec::new();
    match body {
        Value::Object(object) => check(&mut Fields {
            object,
            prefix: String::new(),
            problems: &mut problems,
        }),
        _ => problems.push("body must be a JSON object".to_owned()),
    }
    problems
}

impl Fields<'_> {
    /// The value of a field; `null` counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Notes a problem with a field: `"url", "must be a URL address"`.
    pub(crate) fn fail(&mut self, name: &str, problem: &str) {
        self.problems.push(format!("{}{name} {problem}", self.prefix));
    }

    /// The field must be a text, if it is there.
    pub(crate) fn string(&mut self, name: &str) {
        if self.get(name).is_some_and(|value| !value.is_string()) {
            self.fail(name, "must be a string");
        }
    }

    /// The field must be there and a text that is not empty.
    pub(crate) fn required_string(&mut self, name: &str) {
        match self.get(name) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) => self.fail(name, "should not be empty"),
            _ => self.fail(name, "must be a string"),
        }
    }

    /// The field must be a text of at most so many characters, if it is there.
    pub(crate) fn text(&mut self, name: &str, chars_max: usize) {
        match self.get(name) {
            // A character has at least one byte, so short texts are not counted.
            Some(Value::String(text)) if text.len() > chars_max && text.chars().count() > chars_max => {
                self.fail(
                    name,
                    &format!("must be shorter than or equal to {chars_max} characters"),
                );
            }
            _ => self.string(name),
        }
    }

    /// The field must be there and a text of 1 to so many characters.
    pub(crate) fn required_text(&mut self, name: &str, chars_max: usize) {
        match self.get(name) {
            Some(Value::String(text)) if !text.is_empty() => self.text(name, chars_max),
            _ => self.required_string(name),
        }
    }

    /// The field must be the address of a web page, if it is a text.
    pub(crate) fn link(&mut self, name: &str) {
        let is_link = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if self
            .get(name)
            .and_then(Value::as_str)
            .is_some_and(|text| !is_link(text))
        {
            self.fail(name, "must be a URL address");
        }
    }

    /// The field must be there and a number in a range.
    pub(crate) fn required_number(&mut self, name: &str, allowed: RangeInclusive<f64>) {
        match self.get(name).map(Value::as_f64) {
            None | Some(None) => self.fail(name, "must be a number conforming to the specified constraints"),
            Some(Some(number)) if !allowed.contains(&number) => {
                let (least, most) = (allowed.start(), allowed.end());
                self.fail(name, &format!("must be between {least} and {most}"));
            }
            Some(Some(_)) => {}
        }
    }

    /// The field must be there and an object; `check` goes on inside.
    pub(crate) fn required_object(&mut self, name: &str, check: impl FnOnce(&mut Fields<'_>)) {
        match self.get(name) {
            None => self.fail(name, "must be an object"),
            Some(_) => self.object(name, check),
        }
    }

    /// The field must be there and an array of so many elements; whoever goes on inside checks what they are.
    pub(crate) fn required_array(&mut self, name: &str, count: RangeInclusive<usize>) {
        let problem = match self.get(name) {
            Some(Value::Array(items)) if items.len() < *count.start() => {
                format!("must contain at least {} elements", count.start())
            }
            Some(Value::Array(items)) if items.len() > *count.end() => {
                format!("must contain no more than {} elements", count.end())
            }
            Some(Value::Array(_)) => return,
            _ => "must be an array".to_owned(),
        };
        self.fail(name, &problem);
    }

    /// The texts in an array of texts must differ, and each must have 1 to so many characters.
    pub(crate) fn distinct(&mut self, name: &str, chars_max: usize) {
        let Some(Value::Array(items)) = self.get(name) else {
            return;
        };
        let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        let has_wrong_length = |text: &&str| text.is_empty() || text.chars().count() > chars_max;
        let problem = if texts.len() < items.len() {
            "must be a string".to_owned()
        } else if texts.iter().any(has_wrong_length) {
            format!("must have 1 to {chars_max} characters")
        } else if texts.iter().collect::<BTreeSet<_>>().len() < texts.len() {
            "must differ from the others".to_owned()
        } else {
            return;
        };
        self.fail("each value in", &format!("{name} {problem}"));
    }

    /// The field must be true or false, if it is there. Texts are not converted, as in WAHA.
    pub(crate) fn boolean(&mut self, name: &str) {
        if self.get(name).is_some_and(|value| !value.is_boolean()) {
            self.fail(name, "must be a boolean value");
        }
    }

    /// The field must be a number from 0 to `max`, if it is there.
    pub(crate) fn number(&mut self, name: &str, max: u32) {
        match self.get(name).map(Value::as_f64) {
            None => {}
            Some(None) => self.fail(name, "must be a number conforming to the specified constraints"),
            Some(Some(number)) if number > f64::from(max) => {
                self.fail(name, &format!("must not be greater than {max}"));
            }
            Some(Some(number)) if number < 0.0 => self.fail(name, "must not be less than 0"),
            Some(Some(_)) => {}
        }
    }

    /// The field must be one of these texts, if it is there.
    pub(crate) fn one_of(&mut self, name: &str, allowed: &[&str]) {
        let fits = |value: &Value| value.as_str().is_some_and(|text| allowed.contains(&text));
        if self.get(name).is_some_and(|value| !fits(value)) {
            let problem = format!("must be one of the following values: {}", allowed.join(", "));
            self.fail(name, &problem);
        }
    }

    /// The field must be an array of texts, if it is there.
    pub(crate) fn strings(&mut self, name: &str, max: usize) {
        match self.get(name) {
            None => {}
            Some(Value::Array(items)) if items.len() > max => {
                self.fail(name, &format!("must contain no more than {max} elements"));
            }
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {}
            Some(Value::Array(_)) => self.fail("each value in", &format!("{name} must be a string")),
            Some(_) => self.fail(name, "must be an array"),
        }
    }

    /// The field must be an object, if it is there; `check` goes on inside.
    pub(crate) fn object(&mut self, name: &str, check: impl FnOnce(&mut Fields<'_>)) {
        match self.object.get(name).filter(|value| !value.is_null()) {
            None => {}
            Some(Value::Object(object)) => check(&mut Fields {
                object,
                prefix: format!("{}{name}.", self.prefix),
                problems: self.problems,
            }),
            // class-validator puts the path behind its own words here.
            Some(_) => self.problems.push(format!(
                "nested property {}{name} must be either object or array",
                self.prefix
            )),
        }
    }

    /// The field must be an array of at most `max` objects, if it is there; `check` goes on inside each.
    pub(crate) fn objects(&mut self, name: &str, max: usize, check: impl Fn(&mut Fields<'_>)) {
        let items = match self.object.get(name).filter(|value| !value.is_null()) {
            None => return,
            Some(Value::Array(items)) => items,
            Some(_) => return self.fail(name, "must be an array"),
        };
        if items.len() > max {
            return self.fail(name, &format!("must contain no more than {max} elements"));
        }
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::Object(object) => check(&mut Fields {
                    object,
                    prefix: format!("{}{name}.{index}.", self.prefix),
                    problems: self.problems,
                }),
                _ => self.problems.push(format!(
                    "each value in nested property {}{name} must be either object or array",
                    self.prefix
                )),
            }
        }
    }
}
