// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// slow answers once release is closed.
func slow(t *testing.T) (w *workload, release func()) {
	t.Helper()
	open := make(chan struct{})
	release = sync.OnceFunc(func() { close(open) })
	w = newWorkloadServing(t, "slow", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		<-open
		_, _ = rw.Write([]byte("whole answer"))
	}))
	t.Cleanup(release) // before the server's own end, which waits for its handlers
	return w, release
}

// hold begins a request that the slow workload has seen when hold returns.
func hold(t *testing.T, p *process, w *workload) (answer chan string) {
	t.Helper()
	answer = make(chan string, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: meshtest.Patience}
		resp, err := client.Get("http://" + p.Addr + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		buf := make([]byte, 64)
		n, _ := resp.Body.Read(buf)
		answer <- resp.Status + " " + string(buf[:n])
	}()
	w.wait(t, 1)
	return answer
}

func TestTerminationLetsTheRequestUnderWayEnd(t *testing.T) {
	w, release := slow(t)
	p, _ := folder(t, onFreePort(t), "all.yaml", shop(w))
	answer := hold(t, p, w)
	p.signal(t, syscall.SIGTERM)
	p.log.wait(t, 0, `draining`)
	meshtest.Until(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", p.Addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case err := <-p.exit:
		t.Fatalf("ended with a request under way: %v", err)
	default:
	}
	release()
	if got := <-answer; got != "200 OK whole answer" {
		t.Errorf("the request under way got %q", got)
	}
	if code := p.ended(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestSecondSignalCuts(t *testing.T) {
	w, _ := slow(t)
	p, _ := folder(t, onFreePort(t), "all.yaml", shop(w))
	answer := hold(t, p, w)
	p.signal(t, syscall.SIGINT)
	p.log.wait(t, 0, `draining`)
	p.signal(t, syscall.SIGTERM)
	if code := p.ended(t); code != 1 {
		t.Errorf("exit code %d, want 1: something was cut", code)
	}
	<-answer
}
