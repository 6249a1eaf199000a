//! EXPOSE: `80`, `80/udp`, `8000-8010/tcp`; what stands before a `:` is checked and dropped, as
//! BuildKit does.

/// The `port/protocol` entries that one word stands for.
pub(super) fn parse(word: &str) -> Result<Vec<String>, String> {
    let (ip, host, container) = split(word);
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(format!("invalid port `{word}`: no port specified"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err(format!("invalid port `{word}`: invalid protocol `{protocol}`")),
    };
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid port `{word}`: invalid IP address `{ip}`"));
    }
    let (start, end) = range(port)
        .ok_or_else(|| format!("invalid port `{word}`: invalid container port `{port}`"))?;
    if !host.is_empty() {
        let (first, last) = range(host)
            .ok_or_else(|| format!("invalid port `{word}`: invalid host port `{host}`"))?;
        if last - first != end - start && end != start {
            return Err(format!("invalid port `{word}`: the two ranges differ in length"));
        }
    }
    Ok((start..=end).map(|port| format!("{port}/{protocol}")).collect())
}

/// `ip:host:container`, `host:container` or `container`.
fn split(word: &str) -> (&str, &str, &str) {
    match word.rsplit_once(':') {
        None => ("", "", word),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((ip, host)) => (ip, host, container),
        },
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.strip_prefix('+').unwrap_or(text).parse::<u16>().ok();
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ports() {
        let check = |word, expected: &[&str]| assert_eq!(parse(word).unwrap(), expected, "{word}");
        check("80", &["80/tcp"]);
        check("80/UDP", &["80/udp"]);
        check("1-3/sctp", &["1/sctp", "2/sctp", "3/sctp"]);
        check("8080:80", &["80/tcp"]);
        check("127.0.0.1:8080:80", &["80/tcp"]);
        check("[::1]:8080:80", &["80/tcp"]);
        for bad in
            ["", "x", "80/icmp", "70000", "3-1", "-1", "x:80", "1.2.3:1:80", "1-2:1-3", "/tcp"]
        {
            assert!(parse(bad).is_err(), "`{bad}` must be refused");
        }
    }
}
