// SPDX-License-Identifier: Apache-2.0

package format

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func record() *Record {
	return &Record{
		Start:  time.Date(2026, 3, 4, 6, 7, 8, 9_500_000, time.FixedZone("", 3600)),
		Method: []byte("GET"), Path: []byte("/headers?a=b"), Protocol: "HTTP/1.1", Code: 200,
		Details: "via_upstream", BytesReceived: 0, BytesSent: 135, Duration: 4, UpstreamServiceTime: 3,
		ForwardedFor: []byte("10.0.0.1"), UserAgent: []byte("curl/8.5.0 (x; y)"), RequestID: []byte("84961386-6d84"),
		Authority: []byte("httpbin:8000"), UpstreamHost: netip.MustParseAddrPort("10.44.1.27:80"),
		Cluster:          "outbound|8000|v1|httpbin.default.svc.cluster.local",
		UpstreamLocal:    netip.MustParseAddrPort("10.44.1.23:37652"),
		DownstreamLocal:  netip.MustParseAddrPort("[::1]:8000"),
		DownstreamRemote: netip.MustParseAddrPort("10.44.1.23:46520"),
		RouteName:        "default",
	}
}

func TestAccessLogIsIstiosTextFormat(t *testing.T) {
	want := `[2026-03-04T05:07:08.009Z] "GET /headers?a=b HTTP/1.1" 200 - via_upstream - "-" 0 135 4 3 "10.0.0.1" ` +
		`"curl/8.5.0 (x; y)" "84961386-6d84" "httpbin:8000" "10.44.1.27:80" ` +
		`outbound|8000|v1|httpbin.default.svc.cluster.local 10.44.1.23:37652 [::1]:8000 10.44.1.23:46520 - default` + "\n"
	if diff := cmp.Diff(want, string(AppendAccessLog(nil, record()))); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsAbsentIsADash(t *testing.T) {
	r := &Record{Start: time.Unix(0, 0), BytesReceived: 7, Duration: -1, UpstreamServiceTime: -1, Flags: "DPE"}
	want := `kept [1970-01-01T00:00:00.000Z] "- - -" 0 DPE - - "-" 7 0 - - "-" "-" "-" "-" "-" - - - - - -` + "\n"
	if diff := cmp.Diff(want, string(AppendAccessLog([]byte("kept "), r))); diff != "" {
		t.Error(diff)
	}
}

func TestCopyLogLine(t *testing.T) {
	r := &CopyRecord{
		Time: time.Unix(1, 0), RequestID: []byte("id"), Mirror: "default/httpbin", Cluster: "outbound|80||b",
		Host: netip.MustParseAddrPort("10.0.0.2:80"), PrimaryStatus: 200, CopyStatus: 503, PrimaryDuration: 2,
		CopyDuration: 9, Outcome: "delivered",
	}
	want := `[1970-01-01T00:00:01.000Z] copy "id" default/httpbin outbound|80||b "10.0.0.2:80" 200 503 2 9 delivered` +
		"\n"
	if diff := cmp.Diff(want, string(AppendCopyLog(nil, r))); diff != "" {
		t.Error(diff)
	}
	r = &CopyRecord{Time: time.Unix(1, 0), Mirror: "m", Cluster: "c", CopyDuration: -1, Outcome: "no_endpoint"}
	want = `[1970-01-01T00:00:01.000Z] copy "-" m c "-" - - 0 - no_endpoint` + "\n"
	if diff := cmp.Diff(want, string(AppendCopyLog(nil, r))); diff != "" {
		t.Error(diff)
	}
}

func TestNoValueEscapesItsPlace(t *testing.T) {
	word := func(in, want string) {
		t.Helper()
		if got := string(appendWord(nil, in)); got != want {
			t.Errorf("word %q is written %q, want %q", in, got, want)
		}
	}
	word("a b", `a\x20b`)
	word("\n", `\x0A`)
	word(`"\`, `\x22\x5C`)
	word("\x7f\x80\xff~!", `\x7F\x80\xFF~!`)
	if got, want := string(appendQuoted(nil, []byte("a \"\r\nb\x00é"))), `"a \x22\x0D\x0Ab\x00\xC3\xA9"`; got != want {
		t.Errorf("quoted: %s, want %s", got, want)
	}

	evil := make([]byte, 256)
	for i := range evil {
		evil[i] = byte(i)
	}
	r := record()
	plain := AppendAccessLog(nil, r)
	r.Method, r.Path, r.ForwardedFor, r.UserAgent, r.RequestID, r.Authority = evil, evil, evil, evil, evil, evil
	r.Protocol, r.Flags, r.Details, r.TerminationDetail, r.FailureReason = string(evil), string(evil), string(evil),
		string(evil), string(evil)
	r.Cluster, r.ServerName, r.RouteName = string(evil), string(evil), string(evil)
	line := AppendAccessLog(nil, r)
	if n := bytes.IndexByte(line, '\n'); n != len(line)-1 {
		t.Errorf("the line has a newline at %d of %d", n, len(line))
	}
	if got, want := bytes.Count(line, []byte{'"'}), bytes.Count(plain, []byte{'"'}); got != want {
		t.Errorf("%d quotes, want %d", got, want)
	}
	unquoted := func(b []byte) int { // spaces outside quotes
		n := 0
		for i, part := range strings.Split(string(b), `"`) {
			if i%2 == 0 {
				n += strings.Count(part, " ")
			}
		}
		return n
	}
	if got, want := unquoted(line), unquoted(plain); got != want {
		t.Errorf("%d columns, want %d", got, want)
	}
	for i, c := range line[:len(line)-1] {
		if c < ' ' || c > '~' {
			t.Fatalf("byte %#x at %d", c, i)
		}
	}
}

func TestRenderingAllocatesNothing(t *testing.T) {
	r, c, buf := record(), &CopyRecord{RequestID: []byte("x"), Mirror: "m"}, make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(1000, func() {
		buf = AppendAccessLog(buf[:0], r)
		buf = AppendCopyLog(buf, c)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendAccessLog(b *testing.B) {
	r, buf := record(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendAccessLog(buf[:0], r)
	}
}
