// SPDX-License-Identifier: Apache-2.0

package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/umbra-mesh/umbra/internal/dataplane/codec"
)

// message is what a decoder made of a complete message.
type message struct {
	head     codec.Head
	body     []byte
	trailers []codec.Field
	used     int
}

// decode decodes one message; ok says that it is accepted and complete. Interim heads end it.
func decode(t *testing.T, d decoder, h *codec.Head, in []byte, eof func() (Event, *codec.Error)) (m message, ok bool) {
	for {
		ev, n, err := d.Next(in[m.used:])
		m.used += n
		if err != nil {
			return m, false
		}
		switch ev {
		case HeadDone:
			m.head = *h
			if h.Method == nil && h.Status < 200 {
				return m, true
			}
		case Data:
			m.body = append(m.body, d.Body()...)
		case End:
			m.trailers = d.Trailers()
			return m, true
		case More:
			if m.used != len(in) {
				t.Fatalf("More with %d of %d bytes used", m.used, len(in))
			}
			if eof == nil {
				return m, false
			}
			ev, err := eof()
			return m, err == nil && ev == End
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, c := range requestCases {
		if len(c.in) < 2000 {
			f.Add([]byte(c.in), uint16(len(c.in)/2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		checkCuts(t, in, cut, func(pieces [][]byte) string { return requestTranscript(t, pieces) })
		var h codec.Head
		var d RequestDecoder
		d.Reset(&h)
		m, ok := decode(t, &d, &h, in, nil)
		if !ok {
			return // we may be stricter
		}
		theirs := bytes.NewReader(bytes.TrimPrefix(in, []byte("\r\n"))) // net/http knows no empty line before a request
		r := bufio.NewReaderSize(theirs, 256<<10)
		req, err := http.ReadRequest(r)
		if _, odd := errors.AsType[url.EscapeError](err); odd {
			return // a "%" that begins no escape is no matter of framing
		}
		if err != nil {
			t.Fatalf("net/http refuses what we accept: %v", err)
		}
		if req.Method != string(h.Method) {
			t.Errorf("method %q, net/http has %q", h.Method, req.Method)
		}
		if req.Host != string(h.Authority) {
			t.Errorf("authority %q, net/http has %q", h.Authority, req.Host)
		}
		if got, want := string(h.Target), sameTarget(req); got != want {
			t.Errorf("target %q, net/http has %q", got, want)
		}
		if req.ProtoMajor != 1 || req.ProtoMinor != h.Minor {
			t.Errorf("version 1.%d, net/http has %s", h.Minor, req.Proto)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Fatalf("net/http refuses a body that we accept: %v", err)
		}
		checkMessage(t, m, req.Header, req.ContentLength, body, req.Trailer)
		if h.Minor > 0 && !h.Close && req.Close {
			t.Error("net/http closes, we do not")
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, in[m.used:]) {
			t.Errorf("the next message begins %q, net/http has %q, error %v", in[m.used:], rest, err)
		}
	})
}

// sameTarget is the target in origin-form (RFC 9112 §3.2), as net/http understood it.
func sameTarget(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" || r.Method == http.MethodConnect {
		return r.RequestURI
	}
	// Absolute-form; url.URL would change the escapes.
	_, rest, _ := strings.Cut(r.RequestURI, "//")
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0 && r.Method == http.MethodOptions:
		return "*"
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

func FuzzResponse(f *testing.F) {
	for _, c := range responseCases {
		if len(c.in) < 2000 {
			f.Add([]byte(c.in), uint16(len(c.in)/2), false)
			f.Add([]byte(c.in), uint16(1), true)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, toHead bool) {
		checkCuts(t, in, cut, func(pieces [][]byte) string { return responseTranscript(t, pieces, toHead) })
		var h codec.Head
		var d ResponseDecoder
		d.Reset(&h, toHead)
		m, ok := decode(t, &d, &h, in, d.EOF)
		if !ok {
			return // we may be stricter
		}
		r := bufio.NewReaderSize(bytes.NewReader(in), 256<<10)
		req := &http.Request{Method: http.MethodGet}
		if toHead {
			req.Method = http.MethodHead
		}
		resp, err := http.ReadResponse(r, req)
		if err != nil {
			t.Fatalf("net/http refuses what we accept: %v", err)
		}
		if resp.StatusCode != h.Status {
			t.Errorf("status %d, net/http has %d", h.Status, resp.StatusCode)
		}
		_, reason, _ := strings.Cut(resp.Status, " ")
		if strings.TrimLeft(string(h.Reason), " ") != strings.TrimLeft(reason, " ") &&
			strings.TrimRight(string(h.Reason), " \t") != reason { // net/http trims the line
			t.Errorf("reason %q, net/http has %q", h.Reason, reason)
		}
		if resp.ProtoMajor != 1 || resp.ProtoMinor != h.Minor {
			t.Errorf("version 1.%d, net/http has %s", h.Minor, resp.Proto)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("net/http refuses a body that we accept: %v", err)
		}
		length := resp.ContentLength
		if toHead || h.Status < 200 || h.Status == 204 || h.Status == 304 {
			length = 0 // net/http tells the field's value, we tell the body's length
		}
		checkMessage(t, m, resp.Header, length, body, resp.Trailer)
		if !h.Close && resp.Close {
			t.Error("net/http closes, we do not")
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, in[m.used:]) {
			t.Errorf("what follows begins %q, net/http has %q, error %v", in[m.used:], rest, err)
		}
	})
}

// checkCuts wants the same said of in whole, byte by byte and cut in two.
func checkCuts(t *testing.T, in []byte, cut uint16, run func([][]byte) string) {
	whole := run([][]byte{in})
	if got := run(bytewise(in)); got != whole {
		t.Errorf("byte by byte %s\nwhole %s", got, whole)
	}
	at := int(cut) % (len(in) + 1)
	if got := run(parts(in, at)); got != whole {
		t.Errorf("cut at %d %s\nwhole %s", at, got, whole)
	}
}

// checkMessage compares what we and net/http made of the same bytes.
func checkMessage(t *testing.T, m message, header http.Header, length int64, body []byte, trailer http.Header) {
	t.Helper()
	if m.head.Length != length {
		t.Errorf("length %d, net/http has %d", m.head.Length, length)
	}
	if !bytes.Equal(m.body, body) {
		t.Errorf("body %q, net/http has %q", m.body, body)
	}
	ours := byName(m.head.Fields)
	for name, values := range ours {
		switch name {
		case "Host", "Content-Length", "Trailer":
			continue // net/http moves them elsewhere
		case "Te":
			continue // we reduce it
		}
		if !slices.Equal(values, header[name]) {
			t.Errorf("%s: %q, net/http has %q", name, values, header[name])
		}
	}
	removed := map[string]bool{}
	for _, f := range m.head.Fields {
		if f.ID == codec.Connection {
			for _, name := range strings.Split(string(f.Value), ",") {
				removed[textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))] = true
			}
		}
	}
	for name, values := range header {
		id := codec.Identify([]byte(name))
		if _, ok := ours[name]; ok || removed[name] || id.HopByHop() {
			continue
		}
		if name == "Cache-Control" && slices.Equal(values, []string{"no-cache"}) && header.Get("Pragma") == "no-cache" {
			continue // net/http adds it
		}
		if id == codec.Expect && m.head.Minor == 0 {
			continue // HTTP/1.0 has no expectations
		}
		t.Errorf("net/http has %s: %q, we do not", name, values)
	}
	trailers := byName(m.trailers)
	for name, values := range trailers {
		if !slices.Equal(values, trailer[name]) {
			t.Errorf("trailer %s: %q, net/http has %q", name, values, trailer[name])
		}
	}
	for name, values := range trailer {
		_, ok := trailers[name]
		if !ok && values != nil && allowedInTrailers([]byte(name), codec.Identify([]byte(name))) {
			t.Errorf("net/http has trailer %s: %q, we do not", name, values)
		}
	}
}

func byName(fields []codec.Field) map[string][]string {
	out := map[string][]string{}
	for _, f := range fields {
		if f.Name != nil {
			name := textproto.CanonicalMIMEHeaderKey(string(f.Name))
			out[name] = append(out[name], string(f.Value))
		}
	}
	return out
}

// FuzzRoundTrip wants a request that we accept to be the same request after we have rendered it, framed anew.
func FuzzRoundTrip(f *testing.F) {
	for _, c := range requestCases {
		if len(c.in) < 2000 {
			f.Add([]byte(c.in), false, false)
		}
	}
	for _, c := range responseCases {
		if len(c.in) < 2000 {
			f.Add([]byte(c.in), true, false)
			f.Add([]byte(c.in), true, true)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, answer, toHead bool) {
		first, err := readAll(t, in, answer, toHead, 0)
		if err != nil {
			return
		}
		if !answer && len(first.head.Authority) == 0 {
			first.head.Authority = []byte("default") // HTTP/1.0 without Host
		}
		out := render(first, answer, toHead)
		second, err := readAll(t, out, answer, toHead, 4) // Host, two of framing, Connection
		if err != nil {
			t.Fatalf("we refuse %q, which we made: %v", out, err)
		}
		if second.used != len(out) {
			t.Errorf("%d of %d bytes of %q used", second.used, len(out), out)
		}
		if diff := cmp.Diff(summary(first, answer), summary(second, answer)); diff != "" {
			t.Errorf("rendered %q\n%s", out, diff)
		}
	})
}

// readAll takes a message; more is how many fields it may have beyond the usual.
func readAll(t *testing.T, in []byte, answer, toHead bool, more int) (message, error) {
	var h codec.Head
	var m message
	var ok bool
	if answer {
		d := ResponseDecoder{MaxHead: 1 << 20, MaxFields: 100 + more}
		d.Reset(&h, toHead)
		m, ok = decode(t, &d, &h, in, d.EOF)
	} else {
		d := RequestDecoder{MaxHead: 1 << 20, MaxFields: 100 + more}
		d.Reset(&h)
		m, ok = decode(t, &d, &h, in, nil)
	}
	if !ok {
		return m, errors.New("refused or incomplete")
	}
	return m, nil
}

func render(m message, answer, toHead bool) []byte {
	var f Flags
	if m.head.Close {
		f = Close
	}
	if toHead {
		f |= ToHead
	}
	if !answer {
		return appendBody(AppendRequestHead(nil, &m.head, f), m)
	}
	out := AppendResponseHead(nil, &m.head, f)
	if m.head.Length == 0 {
		return out
	}
	return appendBody(out, m)
}

func appendBody(out []byte, m message) []byte {
	if m.head.Length >= 0 {
		return append(out, m.body...)
	}
	for b := range slices.Chunk(m.body, 3) {
		out = append(append(AppendChunkHead(out, len(b)), b...), ChunkEnd...)
	}
	return AppendTrailers(out, m.trailers)
}

// summary is what must not change on the way: all but the version and what concerns one connection.
func summary(m message, answer bool) []string {
	h := m.head
	h.Minor, h.KeepAlive, h.Upgrade = 1, false, false
	head := requestHead
	if answer {
		head = responseHead
	}
	return []string{head(&h), string(m.body), fieldList(m.trailers)}
}
