//! What was probably meant by a word that is unknown.

/// The word of `known` that is nearest to `word`, in small letters, if one is near
/// enough to have been meant: as many letters may differ as a third of it has.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let all = known.into_iter();
    let measured = all.map(|other| (distance(&word, &other.to_lowercase()), other));
    let (distance, other) = measured.min_by_key(|(distance, _)| *distance)?;
    let allowed = (word.len() / 3).clamp(1, 3);
    (distance <= allowed && distance < word.len()).then_some(other)
}

/// How many letters have to be put in, taken away, changed, or swapped with their
/// neighbour (optimal string alignment).
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (last[j - 1] + differs).min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_word() {
        let known = ["FROM", "RUN", "COPY", "EXPOSE", "ENTRYPOINT"];
        for (word, meant) in [
            ("FORM", Some("FROM")),
            ("RNU", Some("RUN")),
            ("exposed", Some("EXPOSE")),
            ("ENTRYPIONT", Some("ENTRYPOINT")),
            ("WIBBLE", None),
            ("", None),
            ("X", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
