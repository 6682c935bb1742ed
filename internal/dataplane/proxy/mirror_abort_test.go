// SPDX-License-Identifier: Apache-2.0

package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
)

// rawPost is a POST as it goes over the wire, and where its body begins.
func rawPost(id string, body []byte, chunked bool, header string) (b []byte, at int) {
	head := "POST /upload HTTP/1.1\r\nHost: shop.example\r\nX-Id: " + id + "\r\n" + header
	if !chunked {
		b = fmt.Appendf(b, "%sContent-Length: %d\r\n\r\n", head, len(body))
		at = len(b)
		return append(b, body...), at
	}
	b = fmt.Appendf(b, "%sTransfer-Encoding: chunked\r\n\r\n", head)
	at = len(b)
	for len(body) > 0 {
		n := min(len(body), 10_000)
		b = fmt.Appendf(b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return append(b, "0\r\nX-Trailer: t\r\n\r\n"...), at
}

// underWay waits until one copy is on its way.
func (r *rig) underWay(cluster string, copies int) {
	r.t.Helper()
	target := r.mirrors.Target(r.clusters.Slot(cluster))
	eventually(r.t, "copy under way", func() bool { return target.InFlight() == copies })
}

func TestCopyOfAnAbortedUploadNeverLooksComplete(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	b := newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	body := randomBytes(100 << 10)
	aborted := int64(0)
	for _, chunked := range []bool{false, true} {
		for _, reset := range []bool{false, true} {
			whole, at := rawPost("aborted", body, chunked, "")
			cuts := []int{at, at + 1, at + 3, at + 6, at + 7, at + 1000, at + 16383, at + 16384, at + 65536, len(whole) - 1}
			if chunked { // within the end of the last chunk, the last chunk, its trailers
				for i := range 30 {
					cuts = append(cuts, len(whole)-2-i)
				}
			}
			for _, cut := range cuts {
				c := r.dial()
				if _, err := c.Write(whole[:cut]); err != nil {
					t.Fatal(err)
				}
				r.underWay("b", 1)
				if reset {
					c.(*net.TCPConn).SetLinger(0)
				}
				c.Close()
				aborted++
				n := r.copiesEnded("b")
				if n.Dropped["partial"] != aborted || n.Delivered != 0 || b.seen("aborted") != 0 {
					t.Fatalf("chunked %v, reset %v, %d of %d bytes: %+v, mirror saw %d whole",
						chunked, reset, cut, len(whole), n, b.seen("aborted"))
				}
			}
		}
	}
	r.must(body, true, "X-Id", "later")
	if n := r.copiesEnded("b"); n.Delivered != 1 || b.seen("later") != 1 {
		t.Errorf("%+v", n)
	}
}

func TestCopyOfARequestThatProductionAnswersEarlyNeverLooksComplete(t *testing.T) {
	for _, ends := range []string{"stays", "closes"} {
		r := newRig(t, mirror.Limits{})
		a := newFar(t, func(c *faulty.Conn) {
			c.Head()
			io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
			if ends == "stays" {
				c.Hang()
			}
		})
		b := newFar(t, healthy)
		r.cluster("a", a.addr)
		r.cluster("b", b.addr)
		r.serve(r.to("a", r.policy("b", 100)))
		for i, chunked := range []bool{false, true, false, true} {
			c := r.dial()
			whole, at := rawPost("early", randomBytes(100<<10), chunked, "")
			if _, err := c.Write(whole[:at+i*20_000]); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 413 {
				t.Fatalf("%v %v", resp, err)
			}
			c.Write(whole[at+i*20_000:]) // too late
			c.Close()
			n := r.copiesEnded("b")
			if n.Dropped["partial"] != int64(i+1) || b.seen("early") != 0 {
				t.Fatalf("upstream %s, chunked %v: %+v, mirror saw %d whole", ends, chunked, n, b.seen("early"))
			}
		}
	}
}

// What a mirror answers before it has read the request says nothing of whether it will.
func TestMirrorThatAnswersEarlyAndReadsOnGetsItAllAtOnce(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	answered := make(chan struct{}, 1)
	var b *far
	b = newFar(t, func(c *faulty.Conn) {
		q, err := c.Head()
		if err != nil {
			return
		}
		io.WriteString(c, okay)
		answered <- struct{}{}
		if _, err := io.ReadAll(q.Body); err == nil {
			b.count(q.Header.Get("X-Id"))
		}
	})
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	body := randomBytes(100 << 10)
	for _, chunked := range []bool{false, true} {
		id := fmt.Sprint("chunked ", chunked)
		whole, at := rawPost(id, body, chunked, "")
		c := r.dial()
		c.Write(whole[:at+10])
		<-answered
		c.Write(whole[at+10:])
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		r.copiesEnded("b") // long before the copy's timeout
		eventually(t, "mirror has read it", func() bool { return b.seen(id) == 1 })
	}
	if n := r.copiesEnded("b"); n.Delivered != 2 || n.Sent != 2 {
		t.Errorf("%+v", n)
	}
}

func TestMirrorThatAnswersEarlyAndIsGoneIsNotCountedAsDelivered(t *testing.T) {
	for _, ending := range []struct {
		name string
		end  func(c *faulty.Conn)
	}{{"reset", (*faulty.Conn).Reset}, {"closed", func(*faulty.Conn) {}}} {
		r := newRig(t, mirror.Limits{})
		var served atomic.Int64
		b := newFar(t, func(c *faulty.Conn) {
			c.Head()
			io.WriteString(c, okay)
			ending.end(c)
		})
		r.cluster("a", origin(t, echo(&served)))
		r.cluster("b", b.addr)
		r.serve(r.to("a", r.policy("b", 100)))
		body := randomBytes(4 << 20)
		for i, chunked := range []bool{false, true} {
			whole, at := rawPost("early", body, chunked, "")
			c := r.dial()
			c.Write(whole[:at+10])
			eventually(t, "mirror is gone", func() bool {
				return b.connections() == i+1 && b.open() == 0
			})
			go c.Write(whole[at+10:])
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("production: %d bytes, %v", len(got), err)
			}
			if n := r.copiesEnded("b"); n.Dropped["reset"] != int64(i+1) || n.Sent != 0 {
				t.Errorf("%s, chunked %v: %+v", ending.name, chunked, n)
			}
		}
	}
}

func TestClientThatLeavesAfterItsRequestDoesNotStopTheCopy(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	a := newFar(t, func(c *faulty.Conn) { c.Request(); c.Hang() })
	read, answer := make(chan struct{}), make(chan struct{})
	b := newFar(t, func(c *faulty.Conn) {
		c.Request()
		close(read)
		<-answer
		io.WriteString(c, okay)
	})
	r.cluster("a", a.addr)
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	c := r.dial()
	whole, _ := rawPost("left", randomBytes(10_000), false, "")
	c.Write(whole)
	<-read
	c.Close()
	eventually(t, "production gave up", func() bool { return a.open() == 0 })
	close(answer)
	if n := r.copiesEnded("b"); n.Delivered != 1 {
		t.Errorf("%+v", n)
	}
}

func TestExpectContinue(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	verdict := make(chan string, 1)
	a := newFar(t, func(c *faulty.Conn) {
		q, err := c.Head()
		if err != nil {
			return
		}
		v := <-verdict
		io.WriteString(c, v)
		if v[9] == '1' {
			io.ReadAll(q.Body)
			io.WriteString(c, okay)
		}
	})
	expects := make(chan string, 1)
	b := newFar(t, func(c *faulty.Conn) {
		if q, _, err := c.Request(); err == nil {
			expects <- q.Header.Get("Expect")
			io.WriteString(c, okay)
		}
	})
	r.cluster("a", a.addr)
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))

	c := r.dial()
	whole, at := rawPost("expect", randomBytes(100), false, "Expect: 100-continue\r\n")
	c.Write(whole[:at])
	eventually(t, "armed", func() bool { return r.mirrors.Stats("test", "b").Counts().Live == 1 })
	if n := b.connections(); n != 0 {
		t.Errorf("%d mirror connections before the body's first byte", n)
	}
	verdict <- "HTTP/1.1 100 Continue\r\n\r\n"
	read := bufio.NewReader(c)
	if resp, err := http.ReadResponse(read, nil); err != nil || resp.StatusCode != 100 {
		t.Fatal(resp, err)
	}
	c.Write(whole[at:])
	if resp, err := http.ReadResponse(read, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if v := <-expects; v != "" {
		t.Errorf("the copy carries Expect: %q", v)
	}
	if n := r.copiesEnded("b"); n.Delivered != 1 {
		t.Errorf("%+v", n)
	}

	c = r.dial()
	c.Write(whole[:at])
	verdict <- "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 417 {
		t.Fatal(resp, err)
	}
	if n := r.copiesEnded("b"); n.Dropped["refused"] != 1 || b.seen("expect") != 1 {
		t.Errorf("%+v, mirror saw %d", n, b.seen("expect"))
	}
}

func TestRetriesNeverDoubleACopy(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var tries atomic.Int64
	a := origin(t, func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body)
		if tries.Add(1)%3 != 0 {
			w.WriteHeader(503)
		}
	})
	b := newFar(t, healthy)
	r.cluster("a", a)
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	const n = 20
	for i := range n {
		id := fmt.Sprint("retried", i)
		whole, _ := rawPost(id, randomBytes(i*3000), i%2 == 0, "")
		c := r.dial()
		c.Write(whole)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		c.Close()
	}
	got := r.copiesEnded("b")
	if got.Delivered != n || tries.Load() != 3*n {
		t.Errorf("%+v, %d tries", got, tries.Load())
	}
	for i := range n {
		if k := b.seen(fmt.Sprint("retried", i)); k != 1 {
			t.Errorf("request %d: %d copies", i, k)
		}
	}
}

// A copy begins with the first connection that production holds, not with the first it asks for.
func TestFailedConnectsOfProductionSendNothing(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	closed := newFar(t, healthy)
	closed.suffer(t, &faulty.Fault{Port: faulty.Closed})
	b := newFar(t, healthy)
	r.cluster("a", closed.addr)
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	for range 3 {
		if code, _ := r.get("/"); code != 503 {
			t.Errorf("status %d", code)
		}
	}
	if n := r.copiesEnded("b"); n.Dropped["refused"] != 3 || b.connections() != 0 {
		t.Errorf("%+v, %d connections", n, b.connections())
	}
}

func TestKillSwitchIsAtOnceAndSparesCopiesUnderWay(t *testing.T) {
	r := newRig(t, mirror.Limits{})
	var served atomic.Int64
	read, answer := make(chan struct{}, 1), make(chan struct{})
	b := newFar(t, func(c *faulty.Conn) {
		if _, _, err := c.Request(); err != nil {
			return
		}
		read <- struct{}{}
		<-answer
		io.WriteString(c, okay)
	})
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	r.must(nil, false)
	<-read
	r.mirrors.SetEnabled(false)
	for range 5 {
		r.must([]byte("x"), true)
	}
	s := r.mirrors.Stats("test", "b")
	eventually(t, "skipped counted", func() bool { return s.Counts().Skipped == 5 })
	if n := s.Counts(); n.Live != 1 || n.Selected != 1 || r.mirrors.Enabled() {
		t.Errorf("%+v", n)
	}
	close(answer)
	if n := r.copiesEnded("b"); n.Delivered != 1 || b.seenAll() != 1 {
		t.Errorf("%+v", n)
	}
	r.mirrors.SetEnabled(true)
	r.must(nil, false)
	if n := r.copiesEnded("b"); n.Delivered != 2 {
		t.Errorf("%+v", n)
	}
}

// A mirror's time runs from the end of the request: an upload may take longer than that.
func TestTimeoutOfACopyRunsFromTheEndOfTheRequest(t *testing.T) {
	t.Parallel()
	const timeout = 2 * ample
	r := newRig(t, mirror.Limits{Timeout: timeout})
	var served atomic.Int64
	b := newFar(t, healthy)
	r.cluster("a", origin(t, echo(&served)))
	r.cluster("b", b.addr)
	r.serve(r.to("a", r.policy("b", 100)))
	whole, at := rawPost("slow", randomBytes(1000), false, "")
	c := r.dial()
	c.Write(whole[:at+10])
	r.underWay("b", 1)
	<-time.After(timeout + brief)
	c.Write(whole[at+10:])
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if n := r.copiesEnded("b"); n.Delivered != 1 {
		t.Errorf("%+v", n)
	}
}
