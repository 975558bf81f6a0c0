//! Vectors of texts that need no model: texts that share words are near each other.
//!
//! Each word of a text leads to one component, and a sign, by its hash; so do its pieces of three characters, with less
//! weight, so that forms of one word are near each other too. The vector has the length 1; that of a text without words is
//! the first unit vector.

/// Components where the call does not say how many.
pub const DIMENSIONS: usize = 256;
/// The most components.
pub const MOST_DIMENSIONS: usize = 4_096;
/// How much a piece of a word counts beside the word.
const PIECE: f64 = 0.5;

/// The vector of a text, of so many components.
pub fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let dimensions = dimensions.clamp(1, MOST_DIMENSIONS);
    let mut sums = vec![0.0_f64; dimensions];
    let mut add = |piece: &str, weight: f64| {
        let hash = hash(piece);
        let sign = if hash >> 63 == 0 { weight } else { -weight };
        let place = usize::try_from(hash % (dimensions as u64)).unwrap_or(0);
        if let Some(sum) = sums.get_mut(place) {
            *sum += sign;
        }
    };
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        add(word, 1.0);
        let chars: Vec<char> = word.chars().collect();
        for piece in chars.windows(3) {
            let piece: String = piece.iter().collect();
            add(&format!("~{piece}"), PIECE);
        }
    }
    let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    if length == 0.0 {
        sums.iter_mut().take(1).for_each(|sum| *sum = 1.0);
        return sums.into_iter().map(narrow).collect();
    }
    sums.into_iter().map(|sum| narrow(sum / length)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "components of a vector of length 1")]
fn narrow(component: f64) -> f32 {
    component as f32
}

/// FNV-1a of 64 bits, mixed once more: the last bits of plain FNV are too regular to choose components by.
fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(one: &str, other: &str) -> f64 {
        let (one, other) = (embed(one, DIMENSIONS), embed(other, DIMENSIONS));
        one.iter().zip(&other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn texts_that_share_words_are_near() {
        let refund = "The refund for my order is late";
        assert!(near(refund, refund) > 0.999);
        let reworded = near(refund, "my order: the refund is late!");
        let partly = near(refund, "Where is the refund");
        let foreign = near(refund, "zebra crossings dazzle giraffes");
        let in_order = reworded > 0.8 && reworded > partly && partly > foreign + 0.2 && foreign.abs() < 0.3;
        assert!(in_order, "{reworded} {partly} {foreign}");
        assert!(near("refund", "refunds") > near("refund", "weather") + 0.2);
    }

    proptest! {
        #[test]
        fn every_text_has_one_vector_of_length_one(text in "\\PC{0,60}", dimensions in 1usize..600) {
            let vector = embed(&text, dimensions);
            prop_assert_eq!(vector.len(), dimensions);
            prop_assert_eq!(&vector, &embed(&text, dimensions));
            let length: f64 = vector.iter().map(|component| f64::from(*component).powi(2)).sum();
            prop_assert!((length - 1.0).abs() < 1e-3, "{}", length);
        }
    }
}
