// SPDX-License-Identifier: Apache-2.0

package faulty

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 30 * time.Second // for what must come
	soon     = 300 * time.Millisecond
)

// get is one request on a connection of its own, given up after limit.
func get(t *testing.T, addr string, limit time.Duration) (int, error) {
	t.Helper()
	client := &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true}, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Get("http://" + addr + "/")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// Faults are what they say, and the server is as before when they end.
func TestFaultsComeAndGo(t *testing.T) {
	s, err := Listen(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names := map[string]bool{}
	for _, f := range Faults("127.0.0.1:1") {
		if names[f.Name] {
			t.Errorf("two faults are named %q", f.Name)
		}
		names[f.Name] = true
		if err := s.Suffer(&f); err != nil {
			t.Fatal(err)
		}
		limit := patience
		if f.Port == Deaf {
			limit = soon
		}
		c, err := net.DialTimeout("tcp", s.Addr(), limit)
		if err == nil {
			c.Close()
		}
		var late net.Error
		switch {
		case f.Port == Closed && !errors.Is(err, unix.ECONNREFUSED),
			f.Port == Deaf && (!errors.As(err, &late) || !late.Timeout()),
			f.Port == Open && err != nil && !errors.Is(err, unix.ECONNRESET):
			t.Errorf("%s: connecting says %v", f.Name, err)
		}
		if code, err := get(t, s.Addr(), soon); err == nil && code == 200 && f.Hangs && !f.Delivered {
			t.Errorf("%s: answered at once", f.Name)
		}
		if err := s.Heal(); err != nil {
			t.Fatal(err)
		}
		if code, err := get(t, s.Addr(), patience); err != nil || code != 200 {
			t.Errorf("after %s: %d, %v", f.Name, code, err)
		}
	}
}
