// SPDX-License-Identifier: Apache-2.0

package logging

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesAreTextAtTheLevelInForce(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, slog.LevelInfo)
	logger := l.Logger().With("mesh", "a").WithGroup("g")
	logger.Debug("not said")
	l.SetLevel(slog.LevelDebug)
	logger.Debug("said", "k", "v w")
	l.Close()
	_, line, _ := strings.Cut(out.String(), " ")
	if want := "level=DEBUG msg=said mesh=a g.k=\"v w\"\n"; line != want {
		t.Errorf("got %q, want %q", line, want)
	}
	if l.Level() != slog.LevelDebug {
		t.Errorf("level %v", l.Level())
	}
}

func TestOneMessageCannotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(&out, slog.LevelDebug)
		logger := l.Logger()
		for range 1000 {
			logger.Debug("again", "peer", "x")
		}
		logger.Debug("something else")
		for range 60 {
			logger.Info("worse")
		}
		synctest.Wait()
		time.Sleep(2 * time.Second) //nolint:forbidigo // virtual time
		for range 1000 {
			logger.Debug("again", "peer", "x")
		}
		l.Close()
		got := out.String()
		if n := strings.Count(got, "msg=again"); n != Burst+2*Rate {
			t.Errorf("%d lines", n)
		}
		if !strings.Contains(got, "msg=again peer=x suppressed=950\n") || !strings.Contains(got, "something else") ||
			strings.Count(got, "msg=worse") != 60 {
			t.Error(got)
		}
		if l.Limited() != 2000-Burst-2*Rate || l.Lost() != 0 {
			t.Errorf("%d limited, %d lost", l.Limited(), l.Lost())
		}
	})
}

func TestMessagesBeyondThoseToldApartShareALimit(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, slog.LevelDebug)
	logger := l.Logger()
	for i := range maxMessages + 3*Burst {
		logger.Debug(strings.Repeat("x", i+1)) //nolint:sloglint // as many messages as lines
	}
	l.Close()
	if len(l.said) != maxMessages || l.Limited() == 0 {
		t.Errorf("%d messages, %d lines limited", len(l.said), l.Limited())
	}
}

// stuck is a terminal that nobody reads.
type stuck struct{ free chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	<-s.free
	return 0, errors.New("gone")
}

func TestWhoLogsDoesNotWaitForWhoReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{make(chan struct{})}
		l := New(out, slog.LevelInfo)
		logger := l.Logger()
		logger.Error("first")
		synctest.Wait() // it is being written
		const lines = 6000
		for range lines {
			logger.Error("e", "text", strings.Repeat("e", 1000))
		}
		if n := l.Lost(); n < lines/4 || n > lines/2 {
			t.Errorf("%d lost of %d", n, lines)
		}
		l.Close() // in a second
		close(out.free)
		synctest.Wait()
		logger.Error("late")
		if l.Lost() != lines+2 {
			t.Errorf("%d lost of %d", l.Lost(), lines+2)
		}
	})
}
