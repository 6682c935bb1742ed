// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bytes"
	"net/netip"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

var (
	root     = []byte("/")
	asterisk = []byte("*")
)

// requestLine parses the complete line at i into h (RFC 9112 §3) and returns where the next begins. b has slack.
func requestLine(h *codec.Head, b []byte, i int) (next int, err *codec.Error) {
	m := i
	for class[b[i]]&inToken != 0 {
		i++
	}
	if i == m || b[i] != ' ' {
		return 0, malformed(detailCodec, "bad method, next to %q", b[m:i+1])
	}
	h.Method = b[m:i:i]
	i++
	t := i
	for class[b[i]]&inTarget != 0 {
		i++
	}
	if i == t || b[i] != ' ' {
		if i > t && b[i] == '\r' && b[i+1] == '\n' {
			return 0, malformed(detailCodec, "request line without version", nil)
		}
		return 0, malformed(detailURL, "byte %q in the target", b[i:i+1])
	}
	target := b[t:i:i]
	i++
	h.IsHead = string(h.Method) == "HEAD"
	if next, err = requestVersion(h, b, i, target); err != nil {
		return 0, err
	}
	return next, setTarget(h, target)
}

func requestVersion(h *codec.Head, b []byte, i int, target []byte) (next int, err *codec.Error) {
	v := b[i : i+10 : i+10] // within the slack, if not within the line
	if string(v[:7]) != "HTTP/1." || v[8] != '\r' || v[9] != '\n' || v[7] != '0' && v[7] != '1' {
		line := b[i:]
		line = line[:bytes.IndexByte(line, '\n')+1]
		well := len(line) == len(v) && string(v[:5]) == "HTTP/" && v[6] == '.' && v[8] == '\r' &&
			class[v[5]]&inDigit != 0 && class[v[7]]&inDigit != 0
		if well && string(v[:8]) == "HTTP/2.0" && string(h.Method) == "PRI" && string(target) == "*" {
			return 0, malformed(detailCodec, "http/2 preface", nil) // RFC 9113 §3.4
		}
		if well {
			return 0, fault(505, detailCodec, "version %q", v[:8])
		}
		return 0, malformed(detailCodec, "bad version %q", bytes.TrimSuffix(line, []byte("\r\n")))
	}
	h.Minor = int(v[7] - '0')
	return i + 10, nil
}

// setTarget tells the four forms of a target apart (RFC 9112 §3.2).
func setTarget(h *codec.Head, target []byte) *codec.Error {
	switch {
	case string(h.Method) == "CONNECT":
		if !validAuthority(target, true) {
			return malformed(detailURL, "target %q of CONNECT", target)
		}
		h.Target, h.Authority = target, target
	case target[0] == '/':
		h.Target = target
	case len(target) == 1 && target[0] == '*':
		if string(h.Method) != "OPTIONS" {
			return malformed(detailURL, "target * with method %q", h.Method)
		}
		h.Target = target
	default:
		return absoluteForm(h, target)
	}
	return nil
}

// absoluteForm splits an absolute target (RFC 9112 §3.2.2): its authority takes the place of Host, and an empty path
// is "/", or "*" for OPTIONS without a query (RFC 9112 §3.2.4).
func absoluteForm(h *codec.Head, target []byte) *codec.Error {
	const scheme = len("http://")
	if len(target) < scheme || !fold(target[:scheme], []byte("http://")) {
		return malformed(detailURL, "target %q", target)
	}
	end := scheme
	for end < len(target) && target[end] != '/' && target[end] != '?' {
		end++
	}
	if !validAuthority(target[scheme:end], false) {
		return malformed(detailURL, "authority %q in the target", target[scheme:end])
	}
	h.Authority = target[scheme:end:end]
	switch {
	case end < len(target) && target[end] == '?':
		// The path needs a byte that is not there; the scheme's have become free.
		copy(target[scheme-1:], h.Authority)
		h.Authority = target[scheme-1 : end-1 : end-1]
		target[end-1] = '/'
		h.Target = target[end-1:]
	case end < len(target):
		h.Target = target[end:]
	case string(h.Method) == "OPTIONS":
		h.Target = asterisk
	default:
		h.Target = root
	}
	return nil
}

// validAuthority reports whether a is a host with an optional port (RFC 9110 §7.2), which portNeeded makes a must.
// Userinfo, an empty host and an empty port are refused, and so is a host with escapes: it would match no route as the
// same host without them does.
func validAuthority(a []byte, portNeeded bool) bool {
	i := 0
	if len(a) > 0 && a[0] == '[' {
		i = bytes.IndexByte(a, ']')
		if i < 0 {
			return false
		}
		addr, err := netip.ParseAddr(string(a[1:i]))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		i++
	} else {
		for i < len(a) && class[a[i]]&inName != 0 {
			i++
		}
		if i == 0 {
			return false
		}
	}
	if i == len(a) {
		return !portNeeded
	}
	if a[i] != ':' || i+1 == len(a) || len(a)-i > len(":65535") {
		return false
	}
	port := 0
	for _, c := range a[i+1:] {
		if class[c]&inDigit == 0 {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535
}
