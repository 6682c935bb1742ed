// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const defaultTime = "%Y-%m-%dT%H:%M:%E3SZ"

// timePart is text, one of Go's layouts, or a piece of its own.
type timePart struct {
	text, layout string
	own          func(dst []byte, t time.Time) []byte
}

// conversions are those of strftime, as far as absl::FormatTime has them, by Go's layout.
var conversions = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'j': "002", 'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'z': "-0700", 'Z': "MST",
	'F': "2006-01-02", 'T': "15:04:05", 'R': "15:04", 'D': "01/02/06",
}

// timeOperator is %START_TIME(FORMAT)% and its like. The format is strftime's, and besides: %s for seconds since 1970,
// %f and %1f to %9f for digits of the second's fraction, %E1S to %E9S for seconds with a fraction.
func timeOperator(format string, of func(*Values) time.Time) (operator, error) {
	if format == "" {
		format = defaultTime
	}
	parts, err := parseTime(format)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, v *Values) []byte {
		if v.Start.IsZero() {
			return dst
		}
		t := of(v)
		for i := range parts {
			switch p := &parts[i]; {
			case p.own != nil:
				dst = p.own(dst, t)
			case p.layout != "":
				dst = t.AppendFormat(dst, p.layout)
			default:
				dst = append(dst, p.text...)
			}
		}
		return dst
	}, nil
}

func parseTime(format string) (parts []timePart, err error) {
	for i := range len(format) {
		if !inField(format[i]) {
			return nil, errors.New("invalid header configuration. Format string contains newline")
		}
	}
	for len(format) > 0 {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			return append(parts, timePart{text: format}), nil
		}
		if i > 0 {
			parts = append(parts, timePart{text: format[:i]})
		}
		p, size := conversion(format[i:])
		if size == 0 {
			return nil, fmt.Errorf("time format: unknown conversion at %q", format[i:])
		}
		parts = append(parts, p)
		format = format[i+size:]
	}
	return parts, nil
}

// conversion reads one at the start of s; size 0 is none.
func conversion(s string) (p timePart, size int) {
	if len(s) < 2 {
		return p, 0
	}
	if layout, ok := conversions[s[1]]; ok {
		return timePart{layout: layout}, 2
	}
	switch c := s[1]; {
	case c == '%':
		return timePart{text: "%"}, 2
	case c == 's':
		return timePart{own: func(dst []byte, t time.Time) []byte { return strconv.AppendInt(dst, t.Unix(), 10) }}, 2
	case c == 'f':
		return fraction(9), 2
	case ('1' <= c && c <= '9' || c == '*') && len(s) > 2 && s[2] == 'f':
		return fraction(digits(c)), 3
	case c == 'E' && len(s) > 2 && s[2] == 'z':
		return timePart{layout: "-07:00"}, 3
	case c == 'E' && len(s) > 3 && ('1' <= s[2] && s[2] <= '9' || s[2] == '*'):
		n := digits(s[2])
		switch s[3] {
		case 'f':
			return fraction(n), 4
		case 'S':
			return timePart{own: func(dst []byte, t time.Time) []byte {
				dst = t.AppendFormat(dst, "05")
				if n == 0 && t.Nanosecond() == 0 {
					return dst
				}
				return appendFraction(append(dst, '.'), t, n)
			}}, 4
		}
	}
	return p, 0
}

// digits is how many a conversion wants, 0 for as many as there are.
func digits(c byte) int {
	if c == '*' {
		return 0
	}
	return int(c - '0')
}

func fraction(n int) timePart {
	return timePart{own: func(dst []byte, t time.Time) []byte { return appendFraction(dst, t, n) }}
}

// appendFraction appends n digits of a second's fraction; with n 0 as many as are not zero, at least one.
func appendFraction(dst []byte, t time.Time, n int) []byte {
	var b [9]byte
	ns := t.Nanosecond()
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + ns%10)
		ns /= 10
	}
	if n == 0 {
		for n = len(b); n > 1 && b[n-1] == '0'; n-- {
		}
	}
	return append(dst, b[:n]...)
}
