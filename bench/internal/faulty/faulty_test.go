// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/umbra-mesh/umbra/bench/internal/process"
)

// patience is how long a test waits for what must come; soon is less than any of the far end's pauses.
const (
	patience = 20 * time.Second
	soon     = 100 * time.Millisecond
)

const post = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"

func listen(t *testing.T) *Server {
	t.Helper()
	addrs, err := process.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(addrs[0], func(_ *http.Request, body []byte) bool { return string(body) == "hello" })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ask sends one request and reads up to n bytes of what comes until then.
func ask(t *testing.T, s *Server, request string, n int64, within time.Duration) (string, error) {
	t.Helper()
	c, err := net.DialTimeout("tcp4", s.addr.String(), min(within, time.Second))
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(within))
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, n))
	return string(b), err
}

// What a fault lets come begins so; nothing comes from those that are silent for longer than a test waits.
func TestFaultsAreWhatTheySayAndEnd(t *testing.T) {
	s := listen(t)
	begins := map[string]string{
		"healthy": "HTTP/1.1 200 OK", "rst-in-answer": "HTTP/1.1 200 OK", "huge-answers": "HTTP/1.1 200 OK",
		"endless-answer": "HTTP/1.1 200 OK\r\nTransfer-Encoding", "huge-head": "HTTP/1.1 200 OK\r\nX-Bomb",
		"endless-1xx": "HTTP/1.1 103", "garbage": "\x16\x03", "unasked-101": "HTTP/1.1 101", "two-answers": okay + okay,
		"early-answer": "HTTP/1.1 413", "redirect": "HTTP/1.1 307", "fails": "HTTP/1.1 500",
	}
	failing := map[string]error{
		"refused": unix.ECONNREFUSED, "rst-on-accept": unix.ECONNRESET, "rst-in-answer": unix.ECONNRESET,
	}
	all := Faults(netip.MustParseAddrPort("127.0.0.1:1"))
	for i := range all {
		f := &all[i]
		if err := s.Suffer(f); err != nil {
			t.Fatal(err)
		}
		begin, comes := begins[f.Name]
		within := patience
		if !comes && failing[f.Name] == nil {
			within = soon
		}
		got, err := ask(t, s, post, int64(max(len(begin), 1)), within)
		var late net.Error
		switch {
		case comes && !strings.HasPrefix(got, begin) && !errors.Is(err, failing[f.Name]):
			t.Errorf("%s: begins with %q, %v", f.Name, got, err)
		case !comes && failing[f.Name] != nil && !errors.Is(err, failing[f.Name]):
			t.Errorf("%s: %v, want %v", f.Name, err, failing[f.Name])
		case !comes && failing[f.Name] == nil && (!errors.As(err, &late) || !late.Timeout()):
			t.Errorf("%s: got %q, %v, want silence", f.Name, got, err)
		}
		if err := s.Suffer(&all[0]); err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t, s, post, int64(len(okay)), patience); got != okay {
			t.Errorf("after %s: %q, %v", f.Name, got, err)
		}
	}
}

func TestSizesOfWhatIsTooMuch(t *testing.T) {
	s := listen(t)
	all := Faults(netip.AddrPort{})
	count := func(name string) (n int64) {
		if err := s.Suffer(Named(all, name)); err != nil {
			t.Fatal(err)
		}
		c, err := net.DialTimeout("tcp4", s.addr.String(), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * patience))
		if _, err := io.WriteString(c, post); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(c)
		if name == "huge-head" {
			n, _ = io.Copy(io.Discard, in)
			return n
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		n, _ = io.Copy(io.Discard, resp.Body)
		return n
	}
	if n := count("huge-head"); n < 16<<20 {
		t.Errorf("a head of %d bytes", n)
	}
	if n := count("huge-answers"); n != 256<<20 {
		t.Errorf("an answer of %d bytes", n)
	}
}

func TestRequestsAreCountedWholeAndCompared(t *testing.T) {
	s := listen(t)
	for _, request := range []string{post, strings.Replace(post, "hello", "hallo", 1)} {
		if got, err := ask(t, s, request, int64(len(okay)), patience); got != okay {
			t.Fatalf("%q, %v", got, err)
		}
	}
	c, err := net.Dial("tcp4", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, post[:len(post)-1]); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	c.SetDeadline(time.Now().Add(patience))
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("a request that is cut short is answered %q", b)
	}
	c.Close()
	if got := s.Seen(); got != (Seen{Whole: 2, Wrong: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestFaultsAreNamedOnceAndPicked(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Faults(netip.AddrPort{}) {
		if seen[f.Name] || seen[f.Title] || f.Title == "" {
			t.Errorf("%q, %q: named twice or not at all", f.Name, f.Title)
		}
		seen[f.Name], seen[f.Title] = true, true
	}
	if got, err := Pick("fails,silent"); err != nil || len(got) != 2 || got[0].Name != "fails" || got[1].Name != "silent" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := Pick(""); err != nil || len(got) != len(Faults(netip.AddrPort{})) {
		t.Errorf("%d picked, %v", len(got), err)
	}
	if _, err := Pick("fails,"); err == nil || !strings.Contains(err.Error(), "never-reads") {
		t.Errorf("%v does not tell what there is", err)
	}
}
