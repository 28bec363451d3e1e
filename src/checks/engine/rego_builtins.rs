//! Replaces the functions of Rego whose result does not depend on the content alone: two checks of the same bytes must agree.

use regorus::{Engine, Value};

/// The functions, with the number of their parameters. A test may mock each of them with the keyword `with`.
const REPLACED: &[(&str, u8)] =
    &[("http.send", 1), ("opa.runtime", 0), ("rand.intn", 2), ("time.now_ns", 0), ("uuid.rfc4122", 1)];

/// Makes each of these functions an error.
///
/// # Errors
/// The engine has such a function already.
pub(super) fn replace_builtins(engine: &mut Engine) -> anyhow::Result<()> {
    for (name, parameters) in REPLACED {
        let refuse = move |_: Vec<Value>| -> anyhow::Result<Value> {
            anyhow::bail!("{name} is not available in a check: mock it, such as `with {name} as 1`")
        };
        engine.add_extension((*name).to_owned(), *parameters, Box::new(refuse))?;
    }
    Ok(())
}
