// SPDX-License-Identifier: Apache-2.0

// Package format renders the lines of the access log and brings them to a file without ever making a worker wait for
// it. It does not decide what is logged, and it does not read the log's format from configuration: there is Istio's
// text format, and one for copies. Apart from that it renders Envoy's format strings as header values (Template), whose
// values are what Values and a head hold, and no more.
//
// # What a value looks like in the log
//
// A value is never able to end its line or its place in it: every byte outside printable ASCII, and '"' and '\', is
// written as \xHH (two upper-case hex digits). In places that are not quoted, and inside the request line, a space is
// written so too. What is absent is "-".
package format

import (
	"net/netip"
	"strconv"
	"time"
)

// Record is what the access log tells of one request. Slices need to live only as long as the call. What is empty, an
// invalid address and a negative number are absent, except Code: 0 is a request that ended without an answer.
type Record struct {
	Start    time.Time // written in UTC
	Method   []byte
	Path     []byte // with the query; x-envoy-original-path if that is set
	Protocol string // HTTP/1.1
	Code     int

	Flags             string // Envoy's response flags, joined by ","
	Details           string
	TerminationDetail string // of the connection
	FailureReason     string // of the upstream transport

	BytesReceived       int64 // of the request's body
	BytesSent           int64 // of the answer's body
	Duration            int64 // ms, to the last byte sent
	UpstreamServiceTime int64 // ms, as in x-envoy-upstream-service-time

	ForwardedFor []byte
	UserAgent    []byte
	RequestID    []byte
	Authority    []byte

	UpstreamHost     netip.AddrPort
	Cluster          string
	UpstreamLocal    netip.AddrPort
	DownstreamLocal  netip.AddrPort
	DownstreamRemote netip.AddrPort
	ServerName       string // TLS SNI
	RouteName        string
}

// AppendAccessLog appends r as one line in Istio's default text format.
func AppendAccessLog(dst []byte, r *Record) []byte {
	dst = appendTime(dst, r.Start)
	dst = append(dst, ` "`...)
	dst = appendWord(dst, r.Method)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Path)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Protocol)
	dst = append(dst, `" `...)
	dst = strconv.AppendInt(dst, int64(r.Code), 10)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Flags)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Details)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.TerminationDetail)
	dst = append(dst, ' ')
	dst = appendQuoted(dst, r.FailureReason)
	for _, n := range [...]int64{r.BytesReceived, r.BytesSent, r.Duration, r.UpstreamServiceTime} {
		dst = append(dst, ' ')
		dst = appendNumber(dst, n)
	}
	for _, v := range [...][]byte{r.ForwardedFor, r.UserAgent, r.RequestID, r.Authority} {
		dst = append(dst, ' ')
		dst = appendQuoted(dst, v)
	}
	dst = append(dst, ` "`...)
	dst = appendAddr(dst, r.UpstreamHost)
	dst = append(dst, `" `...)
	dst = appendWord(dst, r.Cluster)
	for _, a := range [...]netip.AddrPort{r.UpstreamLocal, r.DownstreamLocal, r.DownstreamRemote} {
		dst = append(dst, ' ')
		dst = appendAddr(dst, a)
	}
	dst = append(dst, ' ')
	dst = appendWord(dst, r.ServerName)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.RouteName)
	return append(dst, '\n')
}

// CopyRecord is what the log tells of one copy, once its outcome and production's answer are known. Absent is as in
// Record; a status of 0 is absent too.
type CopyRecord struct {
	Time            time.Time // of the copy's end
	RequestID       []byte    // production's, which the copy carries
	Mirror          string    // id, as in GET /mirrors
	Cluster         string    // the target
	Host            netip.AddrPort
	PrimaryStatus   int
	CopyStatus      int
	PrimaryDuration int64  // ms
	CopyDuration    int64  // ms
	Outcome         string // delivered, or the cause it was dropped under
}

// AppendCopyLog appends r as one line:
//
//	[time] copy "request id" mirror cluster "host" primary-status copy-status primary-ms copy-ms outcome
func AppendCopyLog(dst []byte, r *CopyRecord) []byte {
	dst = appendTime(dst, r.Time)
	dst = append(dst, " copy "...)
	dst = appendQuoted(dst, r.RequestID)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Mirror)
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Cluster)
	dst = append(dst, ` "`...)
	dst = appendAddr(dst, r.Host)
	dst = append(dst, '"')
	for _, status := range [...]int{r.PrimaryStatus, r.CopyStatus} {
		dst = append(dst, ' ')
		if status == 0 {
			status = -1
		}
		dst = appendNumber(dst, int64(status))
	}
	for _, ms := range [...]int64{r.PrimaryDuration, r.CopyDuration} {
		dst = append(dst, ' ')
		dst = appendNumber(dst, ms)
	}
	dst = append(dst, ' ')
	dst = appendWord(dst, r.Outcome)
	return append(dst, '\n')
}

// appendTime appends Envoy's default %START_TIME% in brackets.
func appendTime(dst []byte, t time.Time) []byte {
	dst = append(dst, '[')
	dst = t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
	return append(dst, ']')
}

func appendNumber(dst []byte, n int64) []byte {
	if n < 0 {
		return append(dst, '-')
	}
	return strconv.AppendInt(dst, n, 10)
}

func appendAddr(dst []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(dst, '-')
	}
	return a.AppendTo(dst)
}

// appendWord appends a value that a space would end.
func appendWord[T string | []byte](dst []byte, v T) []byte {
	if len(v) == 0 {
		return append(dst, '-')
	}
	return appendEscaped(dst, v, ' ')
}

func appendQuoted[T string | []byte](dst []byte, v T) []byte {
	dst = append(dst, '"')
	if len(v) == 0 {
		dst = append(dst, '-')
	} else {
		dst = appendEscaped(dst, v, ' '-1)
	}
	return append(dst, '"')
}

// appendEscaped appends v, and as \xHH those of its bytes that are up to last or may not stand in a line.
func appendEscaped[T string | []byte](dst []byte, v T, last byte) []byte {
	const hex = "0123456789ABCDEF"
	from := 0
	for i := range len(v) {
		c := v[i]
		if c > last && c < 0x7F && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, v[from:i]...)
		dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		from = i + 1
	}
	return append(dst, v[from:]...)
}
