// SPDX-License-Identifier: Apache-2.0

package meshtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/umbra-mesh/umbra/internal/admin"
)

// Ask asks an admin page. Any answer but 200 is an error.
func (u *Umbra) Ask(method, path string) (body string, err error) {
	req, err := http.NewRequest(method, "http://"+u.Admin+path, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: Patience}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, raw)
	}
	return string(raw), err
}

// Mirrors is one snapshot of /mirrors. It is an error too if copies in it are not accounted for, each once.
func (u *Umbra) Mirrors() (list []admin.Mirror, err error) {
	text, err := u.Ask(http.MethodGet, "/mirrors")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, err
	}
	for _, m := range list {
		if sum := m.Delivered + m.InFlight + Dropped(m); sum != m.Selected || m.InFlight < 0 {
			err = errors.Join(err, fmt.Errorf("selected %d, but %d delivered, dropped or in flight: %+v", m.Selected, sum, m))
		}
	}
	return list, err
}

// Dropped are a mirror's copies dropped for any cause.
func Dropped(m admin.Mirror) (n int64) {
	for _, k := range m.Dropped {
		n += k
	}
	return n
}

// Metric sums the series of a name whose labels have label in their text.
func (u *Umbra) Metric(name, label string) (sum float64, err error) {
	text, err := u.Ask(http.MethodGet, "/stats/prometheus")
	if err != nil {
		return 0, err
	}
	series := regexp.MustCompile(`(?m)^` + name + `(?:\{(.*)\})? (.*)$`)
	for _, s := range series.FindAllStringSubmatch(text, -1) {
		if !strings.Contains(s[1], label) {
			continue
		}
		n, err := strconv.ParseFloat(s[2], 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}
