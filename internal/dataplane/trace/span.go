// SPDX-License-Identifier: Apache-2.0

package trace

import "time"

// Kind is a span's side of the wire.
type Kind uint8

// The kinds.
const (
	Server Kind = iota // a request that came to us
	Client             // a request that we sent: a copy
)

// Key names one of the texts a span can carry. The set is fixed: nothing is looked up by name on the way.
type Key uint8

// The keys.
const (
	Name Key = iota // the span's name
	Method
	Target // path and query
	Authority
	RequestID
	UserAgent
	Peer      // address of the client
	Cluster   // where it was sent
	Upstream  // address of the host
	RouteName // of the route
	Flags     // Envoy's response flags
	Mirror    // of a copy: id of its mirror
	Outcome   // of a copy: delivered, or the cause of its drop
	Keys      // how many there are
)

// maxText is how much text a span carries, in bytes; what is beyond is cut off. There is room for someText from the
// start.
const (
	maxText  = 2 << 10
	someText = 512
)

// Span is one ended span.
type Span struct {
	Context
	Parent     SpanID // zero: none
	Kind       Kind
	Start, End time.Time

	Status   int // HTTP status of the answer, 0 for none
	Tries    int
	BytesIn  int64 // of the request's body
	BytesOut int64 // of the answer's body
	Failed   bool  // no answer, or 5xx

	text []byte
	at   [Keys]struct{ from, to uint16 }
}

// Set stores a text. It is for one call for each key.
func Set[T ~string | ~[]byte](s *Span, k Key, text T) {
	from := len(s.text)
	if free := maxText - from; len(text) > free {
		text = text[:free]
	}
	s.text = append(s.text, text...)
	s.at[k].from, s.at[k].to = uint16(from), uint16(len(s.text))
}

// Get returns a text, empty if there is none. It lives as long as the span.
func (s *Span) Get(k Key) []byte { return s.text[s.at[k].from:s.at[k].to] }

// reset empties the span and keeps its memory.
func (s *Span) reset() {
	text := s.text[:0]
	if text == nil {
		text = make([]byte, 0, someText)
	}
	*s = Span{text: text}
}
