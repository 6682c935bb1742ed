// SPDX-License-Identifier: Apache-2.0

package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// When a change is reported: after quiet without a further event, at the latest after hurry. All is read again after
// again even if no event came, and after blind where the system gives no events.
const (
	quiet = 100 * time.Millisecond
	hurry = 500 * time.Millisecond
	again = 60 * time.Second
	blind = 500 * time.Millisecond
)

// Watch calls changed, on its own goroutine, each time the content of the inputs is other than at the last Load or the
// last call; nothing that happens between Load and Watch is missed. It returns when ctx is done. Standard input and
// pipes are not watched.
func (l *Loader) Watch(ctx context.Context, changed func()) {
	last := l.loaded()
	if last == (digest{}) {
		last = l.current()
	}
	// Without a watcher, reading every half second keeps the promise as well.
	var events chan fsnotify.Event
	var errs chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = w.Close() }() // nothing was written
		events, errs = w.Events, w.Errors
	}
	look := func() time.Duration {
		seen := l.follow(w)
		if now := l.current(); now != last {
			last = now
			changed()
		}
		if seen {
			return again
		}
		return blind
	}
	timer := time.NewTimer(look())
	defer timer.Stop()
	var first time.Time // of the events not yet looked at
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(quiet, max(0, hurry-time.Since(first))))
		case _, ok := <-errs: // events were lost: look
			if !ok {
				errs = nil
				continue
			}
			timer.Reset(0)
		case <-timer.C:
			first = time.Time{}
			timer.Reset(look())
		}
	}
}

func (l *Loader) loaded() digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.digest
}

// current is the digest of what Load would read now. What cannot be read counts as content: its return is a change.
func (l *Loader) current() digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := newDigester()
	files, err := l.files()
	if err != nil {
		sum.add("error", sha256.Sum256([]byte(err.Error())))
		return sum.digest()
	}
	var b bytes.Buffer
	for _, f := range files {
		data := l.once[f.path]
		if f.regular {
			b.Reset()
			if err := readFile(&b, f.path); err != nil {
				sum.add("error", sha256.Sum256([]byte(err.Error())))
				continue
			}
			data = b.Bytes()
		}
		sum.add(f.path, sha256.Sum256(data))
	}
	return sum.digest()
}

// follow watches the folders of all inputs, new subfolders too, and tells whether the system gives events for all of
// them. A file is watched by its folder, and by that of what it links to: editors and ConfigMap mounts replace files.
func (l *Loader) follow(w *fsnotify.Watcher) bool {
	if w == nil {
		return false
	}
	ok := true
	add := func(dir string) {
		if err := w.Add(dir); err != nil {
			ok = false
		}
	}
	for _, in := range l.inputs {
		if in == Stdin {
			continue
		}
		info, err := os.Stat(in)
		switch {
		case err != nil:
			ok = false
		case info.IsDir():
			subfolders(in, l.opts.Recursive, add)
		case info.Mode().IsRegular():
			add(filepath.Dir(in))
		}
	}
	files, err := l.files()
	for _, f := range files {
		if to, err := filepath.EvalSymlinks(f.path); err == nil && f.regular && to != filepath.Clean(f.path) {
			add(filepath.Dir(to))
		}
	}
	return ok && err == nil
}

func subfolders(dir string, recursive bool, add func(string)) {
	add(dir)
	if !recursive {
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if e.IsDir() && e.Name()[0] != '.' {
			subfolders(filepath.Join(dir, e.Name()), true, add)
		}
	}
}
