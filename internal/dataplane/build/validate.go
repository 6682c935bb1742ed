// SPDX-License-Identifier: Apache-2.0

package build

import (
	"errors"
	"math"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// validated is a message with the rules that its definition carries.
type validated interface {
	proto.Message
	ValidateAll() error
}

// breach is what generated code tells of one broken rule. Cause is what broke inside the field, nil if it did itself.
type breach interface {
	error
	Field() string
	Reason() string
	Cause() error
}

// validate holds a resource against the rules in its definition; of several breaches it tells the first.
func validate(m validated) *fault {
	err := m.ValidateAll()
	if err == nil {
		return nil
	}
	f := &fault{reason: err.Error()}
	for err != nil {
		var several interface{ AllErrors() []error }
		var one breach
		switch {
		case errors.As(err, &several) && len(several.AllErrors()) > 0:
			err = several.AllErrors()[0]
		case errors.As(err, &one):
			f.path, f.reason = join(f.path, protoName(one.Field())), one.Reason()
			err = one.Cause()
		default:
			f.reason, err = err.Error(), nil
		}
	}
	return f
}

// protoName turns the generated code's name of a field, as in VirtualHosts[0], into the definition's.
func protoName(goName string) string {
	var b strings.Builder
	for i, r := range goName {
		if unicode.IsUpper(r) {
			if i > 0 {
				b.WriteByte('_')
			}
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// duration reads a time that must not be negative; what is absent is def.
func duration(d *durationpb.Duration, def time.Duration, path string) (time.Duration, *fault) {
	if d == nil {
		return def, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, faultf(path, "%v", err)
	}
	if d.GetSeconds() < 0 || d.GetNanos() < 0 {
		return 0, faultf(path, "%v is negative", d.AsDuration())
	}
	if d.GetSeconds() >= math.MaxInt64/int64(time.Second) {
		return 0, faultf(path, "%d seconds are more than can be counted", d.GetSeconds())
	}
	return d.AsDuration(), nil
}

// notInField: RFC 9110 §5.5. Much that is written into heads as it stands has no rule of its own against these.
func notInField(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// printable is text without what cannot stand in a field.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if notInField(r) {
			return -1
		}
		return r
	}, text)
}
