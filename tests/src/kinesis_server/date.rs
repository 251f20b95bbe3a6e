//! Days of the Gregorian calendar, in the two forms that HTTP and signatures write them.

const SECONDS_A_DAY: u64 = 86_400;
/// From the first of March of year 0 to 1970.
const DAYS_BEFORE_1970: u64 = 719_468;
/// Days of 400 years: the calendar repeats itself.
const DAYS_OF_ERA: u64 = 146_097;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

/// Reads the time of a signature, `20300101T000000Z`, as milliseconds since 1970; nothing before that.
pub(crate) fn of_signature(text: &str) -> Option<u64> {
    let form = text.len() == 16 && text.is_ascii() && &text[8..9] == "T" && text.ends_with('Z');
    if !form {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let days = days_since_1970(number(0, 4)?, number(4, 6)?, number(6, 8)?)?;
    let seconds = number(9, 11)? * 3_600 + number(11, 13)? * 60 + number(13, 15)?;
    Some((days * SECONDS_A_DAY + seconds) * 1_000)
}

/// The value of a `Date` header: `Tue, 01 Jan 2030 00:00:00 GMT`.
pub(crate) fn of_http(ms: u64) -> String {
    let (days, seconds) = (ms / 1_000 / SECONDS_A_DAY, ms / 1_000 % SECONDS_A_DAY);
    let weekday = WEEKDAYS[(days % 7) as usize];
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let month = MONTHS[month as usize];
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the day a leap year has more is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let before_year = year * 365 + year / 4 - year / 100 + year / 400;
    let before_month = (month * 153 + 2) / 5;
    (before_year + before_month + day - 1).checked_sub(DAYS_BEFORE_1970)
}

/// Year, month counted from March as 0, and day of the month counted from 1.
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    // January and February belong to the year that began in March.
    (era * 400 + year_of_era + u64::from(month >= 10), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASES: [(&str, &str, u64); 4] = [
        ("19700101T000000Z", "Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("20000229T235959Z", "Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
        ("20300101T000000Z", "Tue, 01 Jan 2030 00:00:00 GMT", 1_893_456_000),
        ("21000301T000001Z", "Mon, 01 Mar 2100 00:00:01 GMT", 4_107_542_401),
    ];

    #[test]
    fn a_time_is_read_and_written_across_leap_years() {
        for (signature, http, seconds) in CASES {
            assert_eq!(of_signature(signature), Some(seconds * 1_000), "{signature}");
            assert_eq!(of_http(seconds * 1_000 + 999), http);
        }
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in ["", "20300101", "2030-01-01T00:00", "20301301T000000Z", "abcdefghTijklmnZ", "19691231T000000Z"] {
            assert_eq!(of_signature(text), None, "{text}");
        }
    }
}
