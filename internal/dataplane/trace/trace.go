// SPDX-License-Identifier: Apache-2.0

// Package trace carries the trace of a request: it reads the context that came with it (W3C trace context, B3), writes
// that of its own spans, decides what is sampled, and hands ended spans to an exporter without ever waiting for it. It
// does not send anything itself.
package trace

// Decision says whether a span is recorded.
type Decision uint8

// The decisions.
const (
	Inherit Decision = iota // as the parent is
	Sampled
	NotSampled
)

// Formats are ways to write a context into fields.
type Formats uint8

// The formats, in the order in which they are looked for.
const (
	W3C      Formats = 1 << iota // traceparent, tracestate (W3C Trace Context, level 1)
	B3Single                     // b3
	B3                           // x-b3-traceid and so on
)

// ID is a trace's, SpanID a span's; all zero is none.
type (
	ID     [16]byte
	SpanID [8]byte
)

// Context is a span's place in its trace: what travels with a request. The zero value is none.
type Context struct {
	Trace   ID
	Span    SpanID
	Sampled bool
	// Deferred: nobody has decided yet whether the trace is sampled (B3 alone can say so).
	Deferred bool
}

// Valid reports whether there is a context.
func (c *Context) Valid() bool { return c.Trace != ID{} && c.Span != SpanID{} }
