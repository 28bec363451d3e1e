//! Writes a number with what it counts, for every message: "1 file", "2 files".

use std::fmt::Display;

/// Returns the number with `one` when it is 1, else with `many`.
#[must_use]
pub fn counted_noun<N: Display + PartialEq + From<u8>>(number: N, one: &str, many: &str) -> String {
    let noun = if number == N::from(1) { one } else { many };
    format!("{number} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        let text = |number: usize| counted_noun(number, "policy", "policies");
        assert_eq!([text(0), text(1), text(2)], ["0 policies", "1 policy", "2 policies"]);
    }
}
