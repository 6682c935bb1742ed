// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes.
const (
	inToken  uint8 = 1 << iota // tchar, RFC 9110 §5.6.2
	inTarget                   // may stand in a request target: visible ASCII but "#"
	inName                     // may stand in a registered name or IPv4 address, RFC 3986 §3.2.2, but "%"
	inDigit
	inHex
)

var class = func() (t [256]uint8) {
	for c := '!'; c <= '~'; c++ {
		t[c] = inTarget
	}
	t['#'] = 0
	set := func(bytes string, bit uint8) {
		for i := range len(bytes) {
			t[bytes[i]] |= bit
		}
	}
	const digits = "0123456789"
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	set(digits+letters+"!#$%&'*+-.^_`|~", inToken)
	set(digits+letters+"-._~!$&'()*+,;=", inName)
	set(digits, inDigit)
	set(digits+"abcdefABCDEF", inHex)
	return t
}()

// slack is the room behind the bytes in a Buf: textEnd may look, never write, this far beyond what it was given, and
// filters store values there without growing it.
const slack = 512

// textEnd returns the index of the first byte of b from i on that no field value, reason or extension may hold: a
// control other than HTAB. There must be one, and 8 readable bytes from it on.
func textEnd(b []byte, i int) int {
	const (
		ones = 0x0101010101010101
		high = ones << 7
	)
	for {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ ones*0x7f
		// A subtraction borrows from the next byte only where it has found something, so the lowest find is true.
		found := ((x-ones*0x20)&^x | (del-ones)&^del) & high
		if found == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(found) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
}

// fold reports whether two field names are the same, ASCII case folded.
func fold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		d := b[i]
		if c != d && (c|0x20 != d|0x20 || c|0x20 < 'a' || 'z' < c|0x20) {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// element takes the first element off a comma-separated list (RFC 9110 §5.6.1).
func element(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}
