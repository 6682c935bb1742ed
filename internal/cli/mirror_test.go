// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"strings"
	"testing"
)

func TestMirrorRefusesWhatItCannotServe(t *testing.T) {
	good := []string{"mirror", "--listen", ":8080", "--to", "http://a", "--copy", "http://b"}
	for want, args := range map[string][]string{
		"--listen is missing":                   {"mirror", "--to", "http://a", "--copy", "http://b"},
		"--to is missing":                       {"mirror", "--listen", ":80", "--copy", "http://b"},
		"--copy is missing":                     {"mirror", "--listen", ":80", "--to", "http://a"},
		"TLS is not implemented":                append(good, "--copy", "https://b"),
		`"a:80" is not http://HOST:PORT`:        {"mirror", "--to", "a:80"},
		"only a host and a port can be given":   append(good, "--copy", "http://b/path"),
		"port 0 is not between 1 and 65535":     append(good, "--copy", "http://b:0"),
		"--percentage 101 is not between 0 and": append(good, "--percentage", "101"),
		"--percentage NaN is not between 0 and": append(good, "--percentage", "NaN"),
		"--ttl -1s is negative":                 append(good, "--ttl", "-1s"),
		"unexpected argument":                   append(good, "http://c"),
	} {
		code, out, err := command{t: t}.run(args...)
		if code != 2 || out != "" || !strings.Contains(err, want) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want 2 and %q", args, code, out, err, want)
		}
	}
}

func TestMirrorPrintsResourcesThatCheckTakes(t *testing.T) {
	code, yaml, stderr := command{t: t}.run("mirror", "--listen", "[::1]:8080", "--to", "http://Prod",
		"--copy", "http://[2001:db8::1]:81", "--copy", "http://10.0.0.1:82", "--percentage", "0.5", "--host", "shop", "--print")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{
		`bind: "::1"`, "number: 8080", `address: "prod"`, "resolution: DNS", `address: "2001:db8::1"`,
		`address: "10.0.0.1"`, "resolution: STATIC", "percentage: {value: 0.5}", `authority: "shop"`,
		"host: copy-2.umbra.internal, port: {number: 82}",
	} {
		if !strings.Contains(yaml, want) {
			t.Errorf("the resources do not say %s:\n%s", want, yaml)
		}
	}
	code, out, stderr := command{t: t, stdin: yaml}.run("check", "-f", "-", "--strict")
	if code != 0 {
		t.Errorf("check: exit %d\n%s%s", code, out, stderr)
	}
}
