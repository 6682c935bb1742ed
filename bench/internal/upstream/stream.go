// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"errors"
	"strconv"
)

// maxHead bounds a request head; the load sends 220 bytes and a proxy adds a few fields.
const maxHead = 16 << 10

var (
	errHead    = errors.New("request head is malformed or over 16 KiB")
	errFraming = errors.New("request has a transfer coding: the load never sends one, so no proxy may either")
)

var (
	headEnd = []byte("\r\n\r\n")
	// answer has a body of 128 bytes.
	answer = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 128\r\n\r\n" +
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" +
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n")
)

// stream reads the requests of one connection. It does no I/O: bytes in, answers appended.
type stream struct {
	head []byte // the beginning of a head that came in pieces
	open bool   // a head was read and its body is not complete

	// Of the request being read.
	tally  *tally
	shadow bool
	length int64 // of the body
	left   int64 // of the body, still to come
}

// feed reads b and appends the answers that are due to out. A request counts when its last body byte is read.
func (s *stream) feed(b, out []byte, t *tallies) ([]byte, error) {
	for len(b) > 0 || s.open && s.left == 0 {
		if s.open {
			n := min(int64(len(b)), s.left)
			b, s.left = b[n:], s.left-n
			if s.left > 0 {
				break
			}
			s.open = false
			out = s.finish(out, t)
			continue
		}
		head, rest, err := s.cut(b)
		if err != nil {
			return out, err
		}
		b = rest
		if head == nil {
			break
		}
		if err := s.begin(head, t); err != nil {
			return out, err
		}
		s.head = s.head[:0]
	}
	return out, nil
}

// midway reports whether the connection is inside a request.
func (s *stream) midway() bool { return s.open || len(s.head) > 0 }

// cut takes one head off b, or keeps b and returns nil if the head is not complete yet.
func (s *stream) cut(b []byte) (head, rest []byte, err error) {
	if len(s.head) == 0 {
		if i := bytes.Index(b, headEnd); i >= 0 {
			return b[:i+2], b[i+4:], nil
		}
		if len(b) > maxHead {
			return nil, nil, errHead
		}
		s.head = append(s.head, b...)
		return nil, nil, nil
	}
	from := max(0, len(s.head)-3)
	had := len(s.head)
	s.head = append(s.head, b[:min(len(b), maxHead)]...)
	i := bytes.Index(s.head[from:], headEnd)
	if i < 0 {
		if len(s.head) > maxHead {
			return nil, nil, errHead
		}
		return nil, nil, nil
	}
	end := from + i
	return s.head[:end+2], b[end+4-had:], nil
}

// begin reads a head whose lines all end in CRLF.
func (s *stream) begin(head []byte, t *tallies) error {
	line, fields, ok := bytes.Cut(head, []byte("\r\n"))
	if !ok {
		return errHead
	}
	_, target, ok := bytes.Cut(line, []byte(" "))
	if !ok {
		return errHead
	}
	path, _, ok := bytes.Cut(target, []byte(" "))
	if !ok {
		return errHead
	}
	s.open, s.shadow, s.length = true, false, 0
	for len(fields) > 0 {
		end := bytes.IndexByte(fields, '\n')
		if end < 1 {
			return errHead
		}
		f := fields[:end-1]
		fields = fields[end+1:]
		switch f[0] | 0x20 {
		case 'h':
			if v, ok := value(f, "host"); ok {
				v, _, _ = bytes.Cut(v, []byte(":"))
				s.shadow = bytes.HasSuffix(v, []byte("-shadow"))
			}
		case 'c':
			if v, ok := value(f, "content-length"); ok {
				n, err := strconv.ParseInt(string(v), 10, 64)
				if err != nil || n < 0 {
					return errHead
				}
				s.length = n
			}
		case 't':
			if _, ok := value(f, "transfer-encoding"); ok {
				return errFraming
			}
		}
	}
	s.tally, s.left = t.of(path), s.length
	return nil
}

// finish counts the request and appends its answer.
func (s *stream) finish(out []byte, t *tallies) []byte {
	if s.tally.asks {
		return t.report(out)
	}
	s.tally.seen.Requests++
	s.tally.seen.Bytes += s.length
	if s.shadow {
		s.tally.seen.Shadow++
	}
	return append(out, answer...)
}

// value returns the value of field line f if it has that name, which is given in lower case.
func value(f []byte, name string) ([]byte, bool) {
	if len(f) <= len(name) || f[len(name)] != ':' || !bytes.EqualFold(f[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(f[len(name)+1:]), true
}
