// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const maxHead = 16 << 10

var (
	headEnd     = []byte("\r\n\r\n")
	okLine      = []byte("HTTP/1.1 200 ")
	lengthField = []byte("\r\ncontent-length:")

	errHead = errors.New("answer head is malformed, over 16 KiB or without Content-Length")
)

// answer reads one answer at a time. It does no I/O.
type answer struct {
	head []byte // the beginning of a head that came in pieces
	body bool   // the head was read
	left int64  // bytes of the body still to come
}

// feed reads b and reports whether the answer is complete. Bytes behind its end are an error: nobody asked for them.
func (a *answer) feed(b []byte) (done bool, err error) {
	if !a.body {
		if len(a.head) > 0 || !bytes.Contains(b, headEnd) {
			a.head = append(a.head, b...)
			b = a.head
		}
		i := bytes.Index(b, headEnd)
		if i < 0 {
			if len(b) > maxHead {
				return false, errHead
			}
			return false, nil
		}
		if a.left, err = length(b[:i]); err != nil {
			return false, err
		}
		b = b[i+len(headEnd):]
		a.body = true
	}
	if a.left -= int64(len(b)); a.left < 0 {
		return false, errors.New("bytes behind the end of an answer")
	}
	if a.left > 0 {
		a.head = a.head[:0]
		return false, nil
	}
	a.reset()
	return true, nil
}

func (a *answer) reset() { a.head, a.body, a.left = a.head[:0], false, 0 }

// length reads a head without its last CRLF: only a 200 with a Content-Length will do.
func length(head []byte) (int64, error) {
	if !bytes.HasPrefix(head, okLine) {
		line, _, _ := bytes.Cut(head, []byte("\r\n"))
		return 0, fmt.Errorf("answer is %q, want a 200", line)
	}
	for rest := head; ; {
		i := bytes.Index(rest, lengthField[:2])
		if i < 0 || len(rest) < i+len(lengthField) {
			return 0, errHead
		}
		rest = rest[i:]
		if !bytes.EqualFold(rest[:len(lengthField)], lengthField) {
			rest = rest[2:]
			continue
		}
		v, _, _ := bytes.Cut(rest[len(lengthField):], []byte("\r\n"))
		n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
		if err != nil || n < 0 {
			return 0, errHead
		}
		return n, nil
	}
}
