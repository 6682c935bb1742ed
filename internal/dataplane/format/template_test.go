// SPDX-License-Identifier: Apache-2.0

package format

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// fields are a head's, by lower-case name.
type fields map[string]string

func (f fields) Lookup(name string) ([]byte, bool) {
	v, ok := f[name]
	return []byte(v), ok
}

func values() *Values {
	return &Values{
		Request: fields{":method": "GET", ":path": "/a?b=1&c=x%20y", "x-a": "1", "x-empty": "", "x-bad": "a\r\nb\x00c\td"},
		Answer:  fields{":status": "200", "server": "s"},
		Start:   time.Date(2026, 2, 3, 4, 5, 6, 7_080_000, time.UTC), Duration: 1500 * time.Millisecond,
		Protocol: "HTTP/1.1", RequestID: []byte("id"), TraceID: []byte("trace"), RouteName: "route",
		Remote:        netip.MustParseAddrPort("1.2.3.4:5"),
		DirectRemote:  netip.MustParseAddrPort("[::ffff:10.0.0.9]:6"),
		Local:         netip.MustParseAddrPort("[fd00::1]:7"),
		ConnectionID:  8,
		Cluster:       "outbound|80||a",
		Upstream:      netip.MustParseAddrPort("10.0.0.1:80"),
		UpstreamLocal: netip.MustParseAddrPort("10.0.0.2:81"),
		Attempts:      2, Code: 503, Flags: "UF", Details: "details", BytesReceived: 10, BytesSent: 0,
	}
}

func TestTemplates(t *testing.T) {
	t.Setenv("FORMAT_TEST", "some\nvalue")
	host, _ := os.Hostname()
	for in, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"100%%":                                "100%",
		"%%REQ(x-a)%%":                         "%REQ(x-a)%",
		"<%REQ(X-A)%>":                         "<1>",
		"%REQ(x-none)%":                        "", // absent is nothing, not "-"
		"%REQ(x-none?x-a)%":                    "1",
		"%REQ(x-empty?x-a)%":                   "", // empty is not absent
		"%REQ(:METHOD):2%":                     "GE",
		"%REQ(:METHOD):0%":                     "",
		"%REQ(:METHOD):99%":                    "GET",
		"%REQ(x-bad)%":                         "abc\td",
		"%RESP(:STATUS)%":                      "200",
		"%RESP(server?x)%":                     "s",
		"%QUERY_PARAM(c)%":                     "x y",
		"%QUERY_PARAM(c):2%":                   "x ",
		"%QUERY_PARAM(d)%":                     "",
		"%PATH%":                               "/a?b=1&c=x%20y",
		"%PATH(NQ)%":                           "/a",
		"%PATH(WQ:PATH):3%":                    "/a?",
		"%PATH(NQ:ORIG)%":                      "",
		"%ENVIRONMENT(FORMAT_TEST)%":           "somevalue",
		"%ENVIRONMENT(FORMAT_TEST):4%":         "some",
		"%ENVIRONMENT(FORMAT_TEST_NOT_SET):0%": "-",
		"%HOSTNAME%":                           host,
		"%PROTOCOL% %ROUTE_NAME%":              "HTTP/1.1 route",
		"%STREAM_ID% %TRACE_ID%":               "id trace",
		"%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%":                "outbound|80||a outbound|80||a",
		"%UPSTREAM_HOST% %UPSTREAM_HOST_NAME%":                     "10.0.0.1:80 10.0.0.1:80",
		"%UPSTREAM_REMOTE_ADDRESS%":                                "10.0.0.1:80",
		"%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":                   "10.0.0.1",
		"%UPSTREAM_REMOTE_PORT%":                                   "80",
		"%UPSTREAM_LOCAL_ADDRESS%":                                 "10.0.0.2:81",
		"%DOWNSTREAM_REMOTE_ADDRESS%":                              "1.2.3.4:5",
		"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":                 "1.2.3.4",
		"%DOWNSTREAM_REMOTE_PORT%":                                 "5",
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%":                       "10.0.0.9:6",
		"%DOWNSTREAM_LOCAL_ADDRESS%":                               "[fd00::1]:7",
		"%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%":                  "fd00::1",
		"%DOWNSTREAM_LOCAL_PORT%":                                  "7",
		"%CONNECTION_ID%":                                          "8",
		"%UPSTREAM_REQUEST_ATTEMPT_COUNT%":                         "2",
		"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%": "503 details UF",
		"%BYTES_RECEIVED%/%BYTES_SENT% %DURATION%":                 "10/0 1500",
		"%START_TIME%":                                             "2026-02-03T04:05:06.007Z",
		"%START_TIME()%":                                           "2026-02-03T04:05:06.007Z",
		"%START_TIME(%Y/%m/%dT%H:%M:%S%z)%":                        "2026/02/03T04:05:06+0000",
		"%START_TIME(%s.%3f)%":                                     "1770091506.007",
		"%START_TIME(%f %1f %9f %*f)%":                             "007080000 0 007080000 00708",
		"%START_TIME(%E*S %E3f %S.%E6f)%":                          "06.00708 007 06.007080",
		"%START_TIME(%a, %d %b %y %I%p %%)%":                       "Tue, 03 Feb 26 04AM %",
		"%START_TIME(at %F %T%Ez)%":                                "at 2026-02-03 04:05:06+00:00",
		"%EMIT_TIME(%S.%1f)%":                                      "07.5",
	} {
		tpl, err := ParseTemplate(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := tpl.Append([]byte("|"), values()); string(got) != "|"+want {
			t.Errorf("%s: %q, want %q", in, got[1:], want)
		}
	}
}

func TestAbsentValuesAreNothing(t *testing.T) {
	for in, want := range map[string]string{
		"%REQ(x)%%RESP(x)%%QUERY_PARAM(x)%%PATH%%START_TIME%%PROTOCOL%%TRACE_ID%%ROUTE_NAME%":   "",
		"%UPSTREAM_HOST%%UPSTREAM_HOST_NAME%%DOWNSTREAM_REMOTE_ADDRESS%%DOWNSTREAM_LOCAL_PORT%": "",
		"%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%":                                                 "",
		"%RESPONSE_FLAGS%":                                                                      "-",
		"%RESPONSE_CODE%":                                                                       "0",
	} {
		tpl, err := ParseTemplate(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := tpl.Append(nil, &Values{}); string(got) != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for in, want := range map[string]string{
		"100%":                       "Couldn't find valid command at position 3",
		"a%b%":                       "Couldn't find valid command at position 1",
		"%REQ(x%":                    "Couldn't find valid command at position 0",
		"%REQ(x):a%":                 "Couldn't find valid command",
		"%REQ(x)":                    "Couldn't find valid command",
		"%REQ(x):":                   "Couldn't find valid command",
		"%REQ(x):99999999999%":       "Couldn't find valid command",
		"%()%":                       "Couldn't find valid command",
		"%REQ%":                      "REQ needs an argument",
		"%REQ()%":                    "REQ needs an argument",
		"%REQ(?x)%":                  "a field name is missing",
		"%REQ(a?b?c)%":               "more than 1 alternative header specified in token: a?b?c",
		"%REQ(a b)%":                 `"a b" is no field name`,
		"%PROTOCOL(x)%":              "PROTOCOL takes no argument",
		"%PROTOCOL:3%":               "PROTOCOL takes no length",
		"%START_TIME:3%":             "START_TIME takes no length",
		"%START_TIME(%Q)%":           `unknown conversion at "%Q"`,
		"%START_TIME(%E0S)%":         "unknown conversion",
		"%START_TIME(%)%":            "unknown conversion",
		"%START_TIME(\n)%":           "Format string contains newline",
		"%PATH(x)%":                  "only 'WQ'/'NQ' are allowed",
		"%PATH(NQ:x)%":               "only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed",
		"%FOO%":                      "unknown command FOO; there are BYTES_RECEIVED, BYTES_SENT, CONNECTION_ID",
		"%DYNAMIC_METADATA(a:b)%":    "DYNAMIC_METADATA is not implemented: there is no dynamic metadata",
		`%UPSTREAM_METADATA(["a"])%`: "metadata is not kept",
		"%DOWNSTREAM_PEER_URI_SAN%":  "TLS is not terminated here",
		"%REQUESTED_SERVER_NAME%":    "TLS is not terminated here",
		"%PER_REQUEST_STATE(a)%":     "no per-request state",
		"a\nb":                       "byte 0x0a at position 1 may not stand in a header",
		"a\x00":                      "byte 0x00 at position 1",
	} {
		if _, err := ParseTemplate(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", in, err, want)
		}
	}
}

func TestLiteral(t *testing.T) {
	for in, want := range map[string]string{"": "", "a": "a", "5%%": "5%"} {
		tpl, err := ParseTemplate(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := tpl.Literal(); !ok || got != want {
			t.Errorf("%q: %q, %v", in, got, ok)
		}
	}
	tpl, _ := ParseTemplate("a%PROTOCOL%")
	if _, ok := tpl.Literal(); ok {
		t.Error("a template with an operator is literal")
	}
	if got, ok := (Template{}).Literal(); got != "" || !ok {
		t.Error("the zero template is not literal")
	}
}

func TestAppendingATemplateAllocatesNothing(t *testing.T) {
	tpl, err := ParseTemplate("%REQ(x-a)%,%DOWNSTREAM_REMOTE_ADDRESS%,%START_TIME(%s.%3f %F)%,%DURATION%,%PATH(NQ)%,%UPSTREAM_HOST%")
	if err != nil {
		t.Fatal(err)
	}
	v, buf := values(), make([]byte, 0, 1024)
	v.Request = fixed{}
	if n := testing.AllocsPerRun(100, func() { buf = tpl.Append(buf[:0], v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type fixed struct{}

var fixedValue = []byte("value")

func (fixed) Lookup(string) ([]byte, bool) { return fixedValue, true }

func FuzzParseTemplate(f *testing.F) {
	for _, s := range []string{
		"%REQ(x?y):3%", "%%", "a%START_TIME(%Y %3f)%b", "%QUERY_PARAM(a)%", "%PATH(NQ:ORIG):2%", "%ENVIRONMENT(PATH)%", "%",
		"%HOSTNAME%%RESPONSE_FLAGS%",
	} {
		f.Add(s, "v\r\nx", "/p?a=%0d%0a%00&x")
	}
	f.Fuzz(func(t *testing.T, s, value, target string) {
		tpl, err := ParseTemplate(s)
		if err != nil {
			return
		}
		v := values()
		v.Request, v.Answer = every(value), fields{":path": target}
		v.RouteName, v.Details, v.UpstreamName, v.Cluster = value, value, value, value
		v.RequestID, v.TraceID = []byte(value), []byte(value)
		for _, r := range []Fields{v.Request, v.Answer, nil} {
			v.Request = r
			for _, c := range tpl.Append(nil, v) {
				if !inField(c) {
					t.Fatalf("%q made the byte %#x", s, c)
				}
			}
		}
		if text, ok := tpl.Literal(); ok && text != strings.ReplaceAll(s, "%%", "%") {
			t.Fatalf("%q is the literal %q", s, text)
		}
	})
}

// every field has the value.
type every string

func (e every) Lookup(string) ([]byte, bool) { return []byte(e), true }
