// SPDX-License-Identifier: Apache-2.0

package format

import "bytes"

// appendQuery appends the value of the first parameter of a target's query whose name is that once decoded (RFC 3986
// §2.1), decoded, and at most limit bytes of it.
func appendQuery(dst, target []byte, name string, limit int) []byte {
	_, query := cutByte(target, '?')
	for len(query) > 0 {
		var one []byte
		one, query = cutByte(query, '&')
		key, value := cutByte(one, '=')
		if !decodesTo(key, name) {
			continue
		}
		for n := 0; len(value) > 0 && (limit < 0 || n < limit); n++ {
			c, size := decoded(value)
			if value = value[size:]; inField(c) {
				dst = append(dst, c)
			}
		}
		return dst
	}
	return dst
}

// cutByte splits at the first c; without one, after is nil.
func cutByte(b []byte, c byte) (before, after []byte) {
	if i := bytes.IndexByte(b, c); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

func decodesTo(b []byte, want string) bool {
	for i := range len(want) {
		if len(b) == 0 {
			return false
		}
		c, size := decoded(b)
		if c != want[i] {
			return false
		}
		b = b[size:]
	}
	return len(b) == 0
}

// decoded is b's first byte, and how many bytes stand for it: three if they are a percent-encoding.
func decoded(b []byte) (c byte, size int) {
	if b[0] == '%' && len(b) >= 3 {
		if high, low := fromHex(b[1]), fromHex(b[2]); high < 16 && low < 16 {
			return high<<4 | low, 3
		}
	}
	return b[0], 1
}

// fromHex is 16 or more for what is no hex digit.
func fromHex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}
