// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/umbra-mesh/umbra/internal/admin"
)

const (
	adminTimeout  = 10 * time.Second // for one answer of the admin pages
	adminMaxBytes = 64 << 20         // of one answer
)

func newMirrors() *cobra.Command {
	var addr string
	list := &cobra.Command{
		Use:   "mirrors",
		Short: "List the mirrors of a running umbra, or switch them.",
		Long: "List the mirrors of a running umbra with what was counted for each. With on or off, switch all of them:\n" +
			"effective at once, without a reload; copies under way go on.",
		Example: "  umbra mirrors\n  umbra mirrors off\n  umbra mirrors on --admin 127.0.0.1:15000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showMirrors(cmd, http.MethodGet, addr, "")
		},
	}
	list.PersistentFlags().StringVar(&addr, "admin", "127.0.0.1:15000", "Ask the admin pages at this `ADDR`.")
	for _, on := range []bool{true, false} {
		name, what := "off", "Turn all mirrors off: no further request gets a copy."
		if on {
			name, what = "on", "Turn all mirrors on again."
		}
		list.AddCommand(&cobra.Command{
			Use: name, Short: what, Example: "  umbra mirrors " + name + " --admin 127.0.0.1:15000", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return showMirrors(cmd, http.MethodPost, addr, "?enabled="+strconv.FormatBool(on))
			},
		})
	}
	return list
}

// showMirrors asks the admin pages and prints the list that they answer with.
func showMirrors(cmd *cobra.Command, method, addr, query string) error {
	url := addr
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	mirrors, err := askMirrors(cmd.Context(), method, strings.TrimSuffix(url, "/")+"/mirrors"+query)
	if err != nil {
		return failed(err)
	}
	printMirrors(cmd.OutOrStdout(), mirrors)
	return nil
}

func askMirrors(ctx context.Context, method, url string) ([]admin.Mirror, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy of the environment either
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the admin pages: %w; is umbra running, and are its pages there? --admin names another address",
			err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, adminMaxBytes))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(body)))
	}
	var mirrors []admin.Mirror
	if err := json.Unmarshal(body, &mirrors); err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	return mirrors, nil
}

func printMirrors(w io.Writer, mirrors []admin.Mirror) {
	if len(mirrors) == 0 {
		fmt.Fprintln(w, "no mirrors")
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MIRROR\tSTATE\tSHARE\tTO\tSELECTED\tDELIVERED\tIN FLIGHT\tDROPPED")
	for _, m := range mirrors {
		state := "off"
		if m.Enabled {
			state = "on"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %%\t%s\t%d\t%d\t%d\t%s\n", m.ID, state, strconv.FormatFloat(m.Share, 'g', -1, 64), m.To,
			m.Selected, m.Delivered, m.InFlight, drops(m.Dropped))
	}
	_ = t.Flush() // to a terminal that may be gone
}

// drops is "0", or the sum and its causes: "3 (reset 1, timeout 2)".
func drops(dropped map[string]int64) string {
	sum := int64(0)
	var causes []string
	for _, c := range slices.Sorted(maps.Keys(dropped)) {
		sum += dropped[c]
		causes = append(causes, fmt.Sprintf("%s %d", c, dropped[c]))
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", sum, strings.Join(causes, ", "))
}
