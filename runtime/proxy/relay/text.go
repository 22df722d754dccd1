package relay

// What package strconv and others have, which come later than this one.

func itoa(n int) string {
	if n < 0 {
		return "-" + itoa(-n)
	}
	var buf [20]byte
	i := len(buf)
	for {
		i--
		buf[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(buf[i:])
		}
	}
}

func atoi(s string) (n int, ok bool) {
	if len(s) == 0 || len(s) > 10 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, true
}

const digits = "0123456789abcdef"

func hex(b []byte) string {
	out := make([]byte, 0, 2*len(b))
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

func unhex(s string) ([]byte, bool) {
	if len(s)%2 != 0 {
		return nil, false
	}
	out := make([]byte, 0, len(s)/2)
	for i := 0; i < len(s); i += 2 {
		h, ok1 := nibble(s[i])
		l, ok2 := nibble(s[i+1])
		if !ok1 || !ok2 {
			return nil, false
		}
		out = append(out, h<<4|l)
	}
	return out, true
}

func nibble(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

func cut(s string) (key, value string) {
	for i := range len(s) {
		if s[i] == '=' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// ipText is an address of 4 or 16 bytes; one of IPv4 that is mapped is written as
// that (RFC 4291, 2.2 and 2.5.5.2).
func ipText(ip []byte) string {
	if v4 := mapped(ip); v4 != nil {
		return itoa(int(v4[0])) + "." + itoa(int(v4[1])) + "." + itoa(int(v4[2])) + "." + itoa(int(v4[3]))
	}
	out := ""
	for i := 0; i < 16; i += 2 {
		if i > 0 {
			out += ":"
		}
		n := int(ip[i])<<8 | int(ip[i+1])
		text := ""
		for {
			text = digits[n&15:n&15+1] + text
			if n >>= 4; n == 0 {
				break
			}
		}
		out += text
	}
	return out
}

// mapped is the IPv4 address that ip is, or nil.
func mapped(ip []byte) []byte {
	if len(ip) == 4 {
		return ip
	}
	for i, c := range ip[:12] {
		if want := byte(0xff); i < 10 && c != 0 || i >= 10 && c != want {
			return nil
		}
	}
	return ip[12:]
}
