// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRequestHeadHasItsSizeAndReadsBack(t *testing.T) {
	for _, body := range []int{0, 1, 4 << 10, 1 << 20} {
		b, err := request("/run/12345", body)
		if err != nil {
			t.Fatal(err)
		}
		if head := bytes.Index(b, headEnd) + len(headEnd); head != HeadSize || len(b) != HeadSize+body {
			t.Errorf("body of %d: head of %d bytes, %d in all", body, head, len(b))
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			t.Fatalf("body of %d: %v", body, err)
		}
		if n, err := io.Copy(io.Discard, r.Body); err != nil || n != int64(body) {
			t.Errorf("body of %d reads back as %d (%v)", body, n, err)
		}
		want := http.MethodGet
		if body > 0 {
			want = http.MethodPost
		}
		if r.Method != want || r.URL.Path != "/run/12345" || r.Host != "bench.example" {
			t.Errorf("body of %d: %s %s to %s", body, r.Method, r.URL, r.Host)
		}
	}
	if _, err := request("/"+strings.Repeat("x", HeadSize), 0); err == nil {
		t.Error("a path longer than the head was accepted")
	}
}

const whole = "HTTP/1.1 200 OK\r\nserver: x\r\nContent-length: 5 \r\n\r\nhello"

func TestAnswerIsCompleteHoweverItsBytesArrive(t *testing.T) {
	check := func(pieces ...string) {
		t.Helper()
		var a answer
		for range 2 { // it must be as new after the first
			for i, p := range pieces {
				done, err := a.feed([]byte(p))
				if err != nil || done != (i == len(pieces)-1) {
					t.Fatalf("%q, piece %d: done %v, %v", pieces, i, done, err)
				}
			}
		}
	}
	check(whole)
	check(strings.Split(whole, "")...)
	for i := 1; i < len(whole); i++ {
		check(whole[:i], whole[i:])
	}
	check("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

func TestOtherAnswersAreFailures(t *testing.T) {
	for _, in := range []string{
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead),
	} {
		if done, err := new(answer).feed([]byte(in)); err == nil {
			t.Errorf("%.50q: done %v without an error", in, done)
		}
	}
}

func TestBucketsHoldTheirUpperEnds(t *testing.T) {
	last := -1
	for i := range 40 * subBuckets {
		u := upper(i)
		if bucket(u) != i || bucket(u+1) != i+1 || i <= last {
			t.Fatalf("upper end %d of bucket %d is in bucket %d, the next value in %d", u, i, bucket(u), bucket(u+1))
		}
		last = i
	}
}

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	var h histogram
	random := rand.New(rand.NewPCG(1, 2))
	all := make([]time.Duration, 10000)
	for i := range all {
		all[i] = time.Duration(random.ExpFloat64() * float64(time.Millisecond))
		h.observe(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := h.quantile(q); got < want || float64(got) > float64(want)*1.035+1 {
			t.Errorf("quantile %v is %s, want %s", q, got, want)
		}
	}
	if got := h.quantile(1); got != h.max || got != all[len(all)-1] {
		t.Errorf("quantile 1 is %s, the longest was %s", got, all[len(all)-1])
	}
	if got := new(histogram).quantile(0.5); got != 0 {
		t.Errorf("quantile of nothing is %s", got)
	}
}
