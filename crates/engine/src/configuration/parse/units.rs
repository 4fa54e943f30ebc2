//! Numbers with units: times, sizes and the quantities of Kubernetes.

use std::fmt;
use std::time::Duration;

use super::Unacceptable;

/// Units of time in milliseconds, the largest first.
const TIMES: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest time that is taken: a hundred years. Longer ones overflow the clocks of the kernel,
/// and nobody means them.
const LONGEST: u64 = 100 * 366 * 86_400_000;

/// Units of size. As in `dd` and `head`, `K` is 1024 and `kB` is 1000.
const SIZES: [(&str, u64); 13] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1000),
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("b", 1),
];

/// Splits leading digits from the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// A whole number in decimal digits, without a sign.
pub(super) fn whole(text: &str) -> Result<u64, Unacceptable> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unacceptable::new("it is not a whole number"));
    }
    text.parse().map_err(|_| Unacceptable::new("it is too large"))
}

/// `90`, `90s`, `2m`, `1h30m`, `500ms`; units in falling order, each at most once.
pub(super) fn duration(text: &str) -> Result<Duration, Unacceptable> {
    let too_long = || Unacceptable::new("it is longer than a hundred years");
    let in_bounds = |total: u64| {
        if total <= LONGEST { Ok(Duration::from_millis(total)) } else { Err(too_long()) }
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return in_bounds(whole(text)?.checked_mul(1000).ok_or_else(too_long)?);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let (number, tail) = digits(rest);
        let end = tail.find(|letter: char| letter.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let Some(index) = TIMES.iter().position(|(name, _)| *name == unit) else {
            return Err(Unacceptable::new("its units are not w, d, h, m, s or ms"));
        };
        if number.is_empty() {
            return Err(Unacceptable::new("a unit has no number"));
        }
        if index < next_unit {
            return Err(Unacceptable::new("its units are not in falling order"));
        }
        next_unit = index + 1;
        let part = whole(number)?.checked_mul(TIMES[index].1).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
        rest = tail;
    }
    in_bounds(total)
}

/// The shortest way to write a time with one unit, seconds unless it is a whole number of a larger
/// unit of two or more digits' worth.
pub(super) fn write_duration(time: Duration, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let total = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if total == 0 {
        return formatter.write_str("0s");
    }
    // Weeks are read but not written: "7d" is what people expect to see.
    let exact = TIMES[1..].iter().find(|(_, unit)| total.is_multiple_of(*unit));
    let (name, unit) = exact.copied().unwrap_or(("ms", 1));
    write!(formatter, "{}{name}", total / unit)
}

/// `256MiB`, `1G`, `500MB`, `4096`; upper or lower case.
pub(super) fn size(text: &str) -> Result<u64, Unacceptable> {
    let (number, unit) = digits(text);
    let number = whole(number)?;
    let factor = match unit {
        "" => 1,
        unit => {
            let unit = unit.to_ascii_lowercase();
            let found = SIZES.iter().find(|(name, _)| *name == unit);
            found
                .ok_or_else(|| {
                    Unacceptable::new(
                        "its unit is not B, KiB, MiB, GiB, TiB, K, M, G, T, kB, MB, GB or TB",
                    )
                })?
                .1
        }
    };
    number.checked_mul(factor).ok_or_else(|| Unacceptable::new("it is too large"))
}

/// The size in the largest binary unit that it is a whole number of.
pub(super) fn write_size(bytes: u64, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    const BINARY: [(&str, u64); 4] =
        [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match BINARY.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => write!(formatter, "{}{name}", bytes / unit),
        None => write!(formatter, "{bytes}"),
    }
}

/// A quantity as `k8s.io/apimachinery` reads it, in billionths: no sign but `+`, a decimal number,
/// then nothing, `n`, `u`, `m`, `k`, `M`, `G`, `T`, `P`, `E`, `Ki` … `Ei`, or `e` and an exponent.
fn quantity(text: &str) -> Result<u128, Unacceptable> {
    const NANO: u128 = 1_000_000_000;
    let wrong = || Unacceptable::new("it is not a quantity");
    let too_large = || Unacceptable::new("it is too large");
    if text.starts_with('-') {
        return Err(Unacceptable::new("it is negative"));
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole_part, rest) = digits(text);
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole_part.is_empty() && fraction.is_empty() {
        return Err(wrong());
    }
    let factor: u128 = match suffix {
        "n" => 1,
        "u" => 1000,
        "m" => 1_000_000,
        "" => NANO,
        "k" => NANO * 1000,
        "M" => NANO * 1_000_000,
        "G" => NANO * 1_000_000_000,
        "T" => NANO * 1_000_000_000_000,
        "P" => NANO * 1_000_000_000_000_000,
        "E" => NANO * 1_000_000_000_000_000_000,
        "Ki" => NANO << 10,
        "Mi" => NANO << 20,
        "Gi" => NANO << 30,
        "Ti" => NANO << 40,
        "Pi" => NANO << 50,
        "Ei" => NANO << 60,
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or_else(wrong)?;
            let exponent: i32 = exponent.parse().map_err(|_| wrong())?;
            let exponent = u32::try_from(exponent.checked_add(9).ok_or_else(wrong)?);
            // Between a billionth and an exabyte: outside it no limit makes sense.
            10_u128
                .checked_pow(exponent.ok().filter(|power| *power <= 27).ok_or_else(too_large)?)
                .ok_or_else(too_large)?
        }
    };
    let whole_number: u128 =
        if whole_part.is_empty() { 0 } else { whole_part.parse().map_err(|_| too_large())? };
    exact(whole_number, fraction.trim_end_matches('0'), factor)
}

/// `(whole + 0.fraction) * factor` in one division, rounded up as Kubernetes rounds;
/// digit by digit the remainders of binary units would be lost.
fn exact(whole: u128, fraction: &str, factor: u128) -> Result<u128, Unacceptable> {
    let too_precise = || Unacceptable::new("it has too many digits");
    let power = u32::try_from(fraction.len()).map_err(|_| too_precise())?;
    let scale = 10_u128.checked_pow(power).ok_or_else(too_precise)?;
    let digits: u128 =
        if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| too_precise())? };
    let numerator = digits.checked_mul(factor).ok_or_else(too_precise)?;
    whole
        .checked_mul(factor)
        .and_then(|total| total.checked_add(numerator.div_ceil(scale)))
        .ok_or_else(too_precise)
}

/// Thousandths of a processor; Kubernetes takes nothing finer.
pub(super) fn millicpu(text: &str) -> Result<u64, Unacceptable> {
    const MILLI: u128 = 1_000_000;
    let total = quantity(text)?;
    if total == 0 {
        return Err(Unacceptable::new("it is zero"));
    }
    if !total.is_multiple_of(MILLI) {
        return Err(Unacceptable::new("it is finer than a thousandth of a processor (1m)"));
    }
    u64::try_from(total / MILLI).map_err(|_| Unacceptable::new("it is too large"))
}

/// Whole bytes; a fraction of one is rounded up, as Kubernetes does.
pub(super) fn quantity_bytes(text: &str) -> Result<u64, Unacceptable> {
    const NANO: u128 = 1_000_000_000;
    let total = quantity(text)?;
    if total == 0 {
        return Err(Unacceptable::new("it is zero"));
    }
    if total < NANO {
        return Err(Unacceptable::new(
            "it is less than a byte; \"m\" is a thousandth, \"Mi\" a mebibyte",
        ));
    }
    u64::try_from(total.div_ceil(NANO)).map_err(|_| Unacceptable::new("it is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("0", 0),
            ("90", 90_000),
            ("90s", 90_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
            ("500ms", 500),
            ("1s500ms", 1500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "s",
            "1x",
            "1m1h",
            "1s1s",
            "-1s",
            "1.5h",
            " 1s",
            "1s ",
            "1 s",
            "1S",
            "99999999w",
            "18446744073709551616",
            "18446744073709551615",
            "1hh",
            "1h30",
            "inf",
            "none",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("4096", 4096),
            ("1K", 1024),
            ("1kB", 1000),
            ("256MiB", 256 << 20),
            ("256mib", 256 << 20),
            ("1G", 1 << 30),
            ("1GB", 1_000_000_000),
            ("2TiB", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "M", "1.5G", "-1", "1 M", "1Ki", "1X", "18446744073709551615K"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_of_kubernetes() {
        for (text, milli) in [
            ("1000m", 1000),
            ("1", 1000),
            ("0.5", 500),
            ("1.5", 1500),
            (".5", 500),
            ("2.", 2000),
            ("1e2", 100_000),
            ("1k", 1_000_000),
            ("500000u", 500),
        ] {
            assert_eq!(millicpu(text), Ok(milli), "{text}");
        }
        for bad in ["0", "-1", "0.5m", "1n", "m", "", ".", "1 ", "1Q", "1e", "1e99", "1mm", "1,5"] {
            assert!(millicpu(bad).is_err(), "{bad}");
        }
        for (text, bytes) in [
            ("2Gi", 2_u64 << 30),
            ("10Gi", 10 << 30),
            ("500M", 500_000_000),
            ("1.5Gi", 3 << 29),
            ("0.1Ki", 103),
            ("1e3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("128974848", 128_974_848),
            ("2000m", 2),
        ] {
            assert_eq!(quantity_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["100m", "0", "99Ei", "1GiB", "1GB", "1K", "1g", "-1Gi", "1e-99"] {
            assert!(quantity_bytes(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_that_is_written_reads_back(millis in 0..LONGEST) {
            struct Shown(Duration);
            impl fmt::Display for Shown {
                fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                    write_duration(self.0, formatter)
                }
            }
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&Shown(time).to_string()), Ok(time));
        }

        /// Against floating point, which is exact enough at this size.
        #[test]
        fn fractions_of_bytes_round_up(whole in 0_u64..1000, part in 0_u64..1000) {
            let text = format!("{whole}.{part:03}Mi");
            let exact = (whole as f64 + part as f64 / 1000.0) * 1_048_576.0;
            if exact >= 1.0 {
                let bytes = quantity_bytes(&text).unwrap() as f64;
                prop_assert!((bytes - exact).abs() <= 1.0, "{} {}", bytes, exact);
            }
        }

        #[test]
        fn no_quantity_makes_it_panic(text in "[+-]?[0-9]{0,40}[.]?[0-9]{0,40}[a-zA-Z]{0,3}[0-9+-]{0,12}") {
            let _ = millicpu(&text);
            let _ = quantity_bytes(&text);
        }
    }
}
