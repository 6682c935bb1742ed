// SPDX-License-Identifier: Apache-2.0

package format

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// syntax is what a command may have besides its name.
type syntax uint8

const (
	bare        syntax = 0
	argRequired syntax = 1 << iota
	argOptional
	lengthAllowed
)

type command struct {
	syntax
	make func(arg string, length int) (operator, error)
}

// plainCommand is one without argument and length.
func plainCommand(op operator) command {
	return command{bare, func(string, int) (operator, error) { return op, nil }}
}

var commands = map[string]command{
	"REQ": {argRequired | lengthAllowed, func(arg string, n int) (operator, error) {
		return fieldOperator(arg, n, func(v *Values) Fields { return v.Request })
	}},
	"RESP": {argRequired | lengthAllowed, func(arg string, n int) (operator, error) {
		return fieldOperator(arg, n, func(v *Values) Fields { return v.Answer })
	}},
	"QUERY_PARAM": {argRequired | lengthAllowed, queryOperator},
	"PATH":        {argOptional | lengthAllowed, pathOperator},
	"ENVIRONMENT": {argRequired | lengthAllowed, environmentOperator},
	"HOSTNAME":    {bare, hostnameOperator},

	"START_TIME": {argOptional, func(arg string, _ int) (operator, error) {
		return timeOperator(arg, func(v *Values) time.Time { return v.Start.UTC() })
	}},
	"START_TIME_LOCAL": {argOptional, func(arg string, _ int) (operator, error) {
		return timeOperator(arg, func(v *Values) time.Time { return v.Start.Local() })
	}},
	"EMIT_TIME": {argOptional, func(arg string, _ int) (operator, error) {
		return timeOperator(arg, func(v *Values) time.Time { return v.Start.Add(v.Duration).UTC() })
	}},
	"DURATION": numberCommand(func(v *Values) int64 { return v.Duration.Milliseconds() }),

	"PROTOCOL":              textCommand(func(v *Values) string { return v.Protocol }),
	"ROUTE_NAME":            textCommand(func(v *Values) string { return v.RouteName }),
	"UPSTREAM_CLUSTER":      textCommand(func(v *Values) string { return v.Cluster }),
	"UPSTREAM_CLUSTER_RAW":  textCommand(func(v *Values) string { return v.Cluster }),
	"RESPONSE_CODE_DETAILS": textCommand(func(v *Values) string { return v.Details }),
	"RESPONSE_FLAGS": textCommand(func(v *Values) string {
		if v.Flags == "" {
			return "-"
		}
		return v.Flags
	}),
	"STREAM_ID": plainCommand(func(dst []byte, v *Values) []byte { return appendField(dst, v.RequestID, -1) }),
	"TRACE_ID":  plainCommand(func(dst []byte, v *Values) []byte { return appendField(dst, v.TraceID, -1) }),

	"RESPONSE_CODE":                  numberCommand(func(v *Values) int64 { return int64(v.Code) }),
	"BYTES_RECEIVED":                 numberCommand(func(v *Values) int64 { return v.BytesReceived }),
	"BYTES_SENT":                     numberCommand(func(v *Values) int64 { return v.BytesSent }),
	"CONNECTION_ID":                  numberCommand(func(v *Values) int64 { return int64(v.ConnectionID) }),
	"UPSTREAM_REQUEST_ATTEMPT_COUNT": numberCommand(func(v *Values) int64 { return int64(v.Attempts) }),

	"UPSTREAM_HOST":      plainCommand(func(dst []byte, v *Values) []byte { return appendAddress(dst, v.Upstream) }),
	"UPSTREAM_HOST_NAME": plainCommand(appendUpstreamName),
}

func init() {
	for prefix, get := range map[string]func(*Values) netip.AddrPort{
		"UPSTREAM_REMOTE":          func(v *Values) netip.AddrPort { return v.Upstream },
		"UPSTREAM_LOCAL":           func(v *Values) netip.AddrPort { return v.UpstreamLocal },
		"DOWNSTREAM_REMOTE":        func(v *Values) netip.AddrPort { return v.Remote },
		"DOWNSTREAM_DIRECT_REMOTE": func(v *Values) netip.AddrPort { return v.DirectRemote },
		"DOWNSTREAM_LOCAL":         func(v *Values) netip.AddrPort { return v.Local },
		"DOWNSTREAM_DIRECT_LOCAL":  func(v *Values) netip.AddrPort { return v.Local },
	} {
		commands[prefix+"_ADDRESS"] = plainCommand(func(dst []byte, v *Values) []byte {
			return appendAddress(dst, get(v))
		})
		commands[prefix+"_ADDRESS_WITHOUT_PORT"] = plainCommand(func(dst []byte, v *Values) []byte {
			if a := get(v); a.IsValid() {
				dst = a.Addr().Unmap().AppendTo(dst)
			}
			return dst
		})
		commands[prefix+"_PORT"] = plainCommand(func(dst []byte, v *Values) []byte {
			if a := get(v); a.IsValid() {
				dst = strconv.AppendUint(dst, uint64(a.Port()), 10)
			}
			return dst
		})
	}
}

// absent are the commands of Envoy that there is nothing behind here, by what they begin with.
var absent = []struct{ prefix, reason string }{
	{"DYNAMIC_METADATA", "there is no dynamic metadata"},
	{"CLUSTER_METADATA", "metadata is not kept"},
	{"UPSTREAM_METADATA", "metadata is not kept"},
	{"FILTER_STATE", "there is no filter state"},
	{"UPSTREAM_FILTER_STATE", "there is no filter state"},
	{"PER_REQUEST_STATE", "there is no per-request state"},
	{"REQUESTED_SERVER_NAME", "TLS is not terminated here"},
	{"DOWNSTREAM_TLS", "TLS is not terminated here"},
	{"DOWNSTREAM_PEER", "TLS is not terminated here"},
	{"DOWNSTREAM_LOCAL_", "TLS is not terminated here"},
	{"DOWNSTREAM_TRANSPORT", "TLS is not terminated here"},
	{"TLS_JA", "TLS is not terminated here"},
	{"UPSTREAM_TLS", "TLS is not spoken to upstreams"},
	{"UPSTREAM_PEER", "TLS is not spoken to upstreams"},
	{"UPSTREAM_LOCAL_", "TLS is not spoken to upstreams"},
}

func (c *call) operator() (operator, error) {
	known, ok := commands[c.command]
	if !ok {
		for _, a := range absent {
			if strings.HasPrefix(c.command, a.prefix) {
				return nil, fmt.Errorf("%s is not implemented: %s", c.command, a.reason)
			}
		}
		return nil, fmt.Errorf("unknown command %s; there are %s", c.command,
			strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
	}
	switch {
	case c.hasArg && known.syntax&(argRequired|argOptional) == 0:
		return nil, fmt.Errorf("%s takes no argument", c.command)
	case c.arg == "" && known.syntax&argRequired != 0:
		return nil, fmt.Errorf("%s needs an argument", c.command)
	case c.length >= 0 && known.syntax&lengthAllowed == 0:
		return nil, fmt.Errorf("%s takes no length", c.command)
	}
	return known.make(c.arg, c.length)
}

func textCommand(get func(*Values) string) command {
	return plainCommand(func(dst []byte, v *Values) []byte { return appendField(dst, get(v), -1) })
}

func numberCommand(get func(*Values) int64) command {
	return plainCommand(func(dst []byte, v *Values) []byte {
		if n := get(v); n >= 0 {
			dst = strconv.AppendInt(dst, n, 10)
		}
		return dst
	})
}

// fieldOperator is %REQ(MAIN?ALTERNATIVE):LENGTH% and its like: the first field of the name, or of the other name.
func fieldOperator(arg string, limit int, of func(*Values) Fields) (operator, error) {
	main, other, _ := strings.Cut(strings.ToLower(arg), "?")
	if strings.Contains(other, "?") {
		return nil, fmt.Errorf("more than 1 alternative header specified in token: %s", arg)
	}
	for _, name := range []string{main, other} {
		if strings.ContainsFunc(strings.TrimPrefix(name, ":"), notToken) {
			return nil, fmt.Errorf("invalid header configuration: %q is no field name", name)
		}
	}
	if main == "" {
		return nil, errors.New("invalid header configuration: a field name is missing")
	}
	return func(dst []byte, v *Values) []byte {
		f := of(v)
		if f == nil {
			return dst
		}
		value, ok := f.Lookup(main)
		if !ok && other != "" {
			value, _ = f.Lookup(other)
		}
		return appendField(dst, value, limit)
	}, nil
}

// notToken: RFC 9110 §5.6.2.
func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

// queryOperator is %QUERY_PARAM(NAME):LENGTH%: the first parameter whose decoded name is that, decoded.
func queryOperator(name string, limit int) (operator, error) {
	return func(dst []byte, v *Values) []byte {
		if v.Request == nil {
			return dst
		}
		target, _ := v.Request.Lookup(":path")
		return appendQuery(dst, target, name, limit)
	}, nil
}

// pathOperator is %PATH(QUERY:OPTION):LENGTH%.
func pathOperator(arg string, limit int) (operator, error) {
	query, option, _ := strings.Cut(arg, ":")
	if query != "" && query != "WQ" && query != "NQ" {
		return nil, fmt.Errorf("invalid PATH option: '%s', only 'WQ'/'NQ' are allowed", query)
	}
	names := map[string][]string{
		"":     {"x-envoy-original-path", ":path"},
		"ORIG": {"x-envoy-original-path"}, "PATH": {":path"}, "ORIG_OR_PATH": {"x-envoy-original-path", ":path"},
	}[option]
	if names == nil {
		return nil, fmt.Errorf("invalid PATH option: '%s', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed", option)
	}
	return func(dst []byte, v *Values) []byte {
		if v.Request == nil {
			return dst
		}
		var path []byte
		for i := 0; i < len(names) && len(path) == 0; i++ {
			path, _ = v.Request.Lookup(names[i])
		}
		if query == "NQ" {
			path, _ = cutByte(path, '?')
		}
		return appendField(dst, path, limit)
	}, nil
}

// environmentOperator is %ENVIRONMENT(NAME):LENGTH%, read once; "-" if the variable is not set.
func environmentOperator(name string, limit int) (operator, error) {
	value, ok := os.LookupEnv(name) //nolint:forbidigo // this operator is the process's environment
	if !ok {
		value, limit = "-", -1
	}
	text := appendField(nil, value, limit)
	return func(dst []byte, _ *Values) []byte { return append(dst, text...) }, nil
}

func hostnameOperator(string, int) (operator, error) {
	name, err := os.Hostname()
	if err != nil {
		name = "-"
	}
	return func(dst []byte, _ *Values) []byte { return append(dst, name...) }, nil
}

// appendAddress appends an address with its port.
func appendAddress(dst []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return dst
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(dst)
}

func appendUpstreamName(dst []byte, v *Values) []byte {
	if v.UpstreamName == "" {
		return appendAddress(dst, v.Upstream)
	}
	return appendField(dst, v.UpstreamName, -1)
}
