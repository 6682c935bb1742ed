// SPDX-License-Identifier: Apache-2.0

// Package logging is the process's own log: lines of slog's text format, at a level that can be changed while it runs.
// Who logs never waits for who reads, and nobody can flood it: both cost lines, which are counted. It is not the access
// log, which has a line for each request.
package logging

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Rate is how many debug lines with the same message there may be a second, on average, and Burst how many at once:
	// traffic causes them. The levels above have no such limit.
	Rate  = 10
	Burst = 50

	maxQueued   = 4 << 20 // bytes
	maxMessages = 512     // told apart; beyond, one limit holds for the rest
	maxKept     = 64 << 10
	closeWait   = time.Second
)

// Log is where loggers write to. It is made by New and ended by Close.
type Log struct {
	out     io.Writer
	level   slog.LevelVar
	limited atomic.Int64
	lost    atomic.Int64
	stop    chan struct{}
	done    chan struct{}
	closing sync.Once
	wake    chan struct{} // capacity 1

	mu     sync.Mutex
	queue  []byte // whole lines; at most maxQueued
	closed bool
	said   map[string]*bucket
	rest   bucket
}

// New returns a Log that writes to out, which it does not close.
func New(out io.Writer, level slog.Level) *Log {
	l := &Log{
		out: out, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		said: map[string]*bucket{},
	}
	l.level.Set(level)
	go l.write()
	return l
}

// Logger returns a logger for the log.
func (l *Log) Logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: &l.level}
	return slog.New(&handler{log: l, under: func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }})
}

// Level is the least that is logged.
func (l *Log) Level() slog.Level { return l.level.Level() }

// SetLevel changes it.
func (l *Log) SetLevel(level slog.Level) { l.level.Set(level) }

// Limited is how many lines were not written because there were more of their kind than Rate and Burst allow.
func (l *Log) Limited() int64 { return l.limited.Load() }

// Lost is how many lines were not written because out did not take them in time.
func (l *Log) Lost() int64 { return l.lost.Load() }

// Close writes what there is, for a second at most. Lines after it are lost.
func (l *Log) Close() {
	l.closing.Do(func() { close(l.stop) })
	select {
	case <-l.done:
	case <-time.After(closeWait):
	}
}

func (l *Log) write() {
	defer close(l.done)
	var spare []byte
	for ended := false; !ended; {
		select {
		case <-l.wake:
		case <-l.stop:
			ended = true
		}
		l.mu.Lock()
		l.closed = l.closed || ended
		lines := l.queue
		l.queue = spare[:0]
		l.mu.Unlock()
		if len(lines) > 0 {
			if _, err := l.out.Write(lines); err != nil {
				l.lost.Add(int64(bytes.Count(lines, []byte{'\n'})))
			}
		}
		if spare = lines; cap(spare) > maxKept {
			spare = nil
		}
	}
}

func (l *Log) append(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.queue)+len(line) > maxQueued {
		l.lost.Add(1)
		return
	}
	l.queue = append(l.queue, line...)
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// bucket holds what may be said of one message.
type bucket struct {
	at     time.Time // of the last look
	tokens float64
	missed int64 // lines since the last one written
}

// take reports whether a line may be written at now, and how many before it were not.
func (b *bucket) take(now time.Time) (missed int64, ok bool) {
	if b.at.IsZero() {
		b.tokens = Burst
	} else if passed := now.Sub(b.at).Seconds(); passed > 0 { // the wall clock may be set back
		b.tokens = min(Burst, b.tokens+passed*Rate)
	}
	b.at = now
	if b.tokens < 1 {
		b.missed++
		return 0, false
	}
	b.tokens--
	missed, b.missed = b.missed, 0
	return missed, true
}

func (l *Log) allow(r *slog.Record) (missed int64, ok bool) {
	if r.Level >= slog.LevelInfo {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.said[r.Message]
	if b == nil {
		if b = &l.rest; len(l.said) < maxMessages {
			b = &bucket{}
			l.said[r.Message] = b
		}
	}
	return b.take(r.Time)
}

// handler makes lines of records.
type handler struct {
	log   *Log
	under func(io.Writer) slog.Handler // with the attributes and groups given so far
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.log.level.Level()
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	missed, ok := h.log.allow(&r)
	if !ok {
		h.log.limited.Add(1)
		return nil
	}
	if missed > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int64("suppressed", missed))
	}
	var line bytes.Buffer
	if err := h.under(&line).Handle(ctx, r); err != nil {
		return err
	}
	h.log.append(line.Bytes())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{log: h.log, under: func(w io.Writer) slog.Handler { return h.under(w).WithAttrs(attrs) }}
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{log: h.log, under: func(w io.Writer) slog.Handler { return h.under(w).WithGroup(name) }}
}
