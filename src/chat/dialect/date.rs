//! The date, for templates that tell the model which day it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// Time since 1970, in UTC.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `time` since 1970 in the form that C's `strftime` gives it, in English;
/// None if the form has a part that is not known here.
pub(super) fn format(time: Duration, form: &str) -> Option<String> {
    let seconds = time.as_secs();
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let month_name = MONTHS[month as usize - 1];
    // 1970 began on a Thursday.
    let day_name = DAYS[(days as usize + 3) % 7];
    let mut text = String::new();
    let mut letters = form.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        text.push_str(&match letters.next()? {
            'd' => format!("{day:02}"),
            'm' => format!("{month:02}"),
            'b' => month_name[..3].to_string(),
            'B' => month_name.to_string(),
            'y' => format!("{:02}", year % 100),
            'Y' => year.to_string(),
            'a' => day_name[..3].to_string(),
            'A' => day_name.to_string(),
            'H' => format!("{:02}", seconds / 3600 % 24),
            'M' => format!("{:02}", seconds / 60 % 60),
            'S' => format!("{:02}", seconds % 60),
            '%' => "%".to_string(),
            _ => return None,
        });
    }
    Some(text)
}

/// Year, month and day in the Gregorian calendar: years are counted from March
/// in eras of 400, so that the day that comes and goes is the last of a year
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_fall_where_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "Thu 01 Jan 1970 00:00:00"),
            (951_782_400, "Tue 29 Feb 2000 00:00:00"),
            (951_868_800, "Wed 01 Mar 2000 00:00:00"),
            (1_709_251_199, "Thu 29 Feb 2024 23:59:59"),
            (4_107_542_400, "Mon 01 Mar 2100 00:00:00"),
        ] {
            let shown = format(Duration::from_secs(seconds), "%a %d %b %Y %H:%M:%S");
            assert_eq!(shown.as_deref(), Some(expected));
        }
        let day = Duration::from_secs(951_782_400);
        assert_eq!(
            format(day, "%A, %B %m/%y 100%%").as_deref(),
            Some("Tuesday, February 02/00 100%")
        );
        assert_eq!((format(day, "%Q"), format(day, "%")), (None, None));
    }
}
