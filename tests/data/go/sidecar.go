// What the format of keys.json is measured by: encoding/json itself.
//
//	go run sidecar.go golden DIR     writes the golden files
//	go run sidecar.go copy FILE...   reads each file and writes it to FILE.go
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

type active struct {
	Storage uint32 `json:"storage"`
	Raft    uint32 `json:"raft"`
}

type key struct {
	Purpose    string `json:"purpose"`
	Wrapped    []byte `json:"wrapped"`
	Created    string `json:"created"`
	LocalEpoch uint16 `json:"local_epoch"`
}

type head struct {
	Version               uint32 `json:"version"`
	RaftAppliedIndex      uint64 `json:"raft_applied_index"`
	StorageEnvelopeActive bool   `json:"storage_envelope_active"`
}

type version1 struct {
	head
	RaftEnvelopeCutoverIndex uint64         `json:"raft_envelope_cutover_index"`
	Active                   active         `json:"active"`
	Keys                     map[string]key `json:"keys"`
}

type version2 struct {
	head
	StorageEnvelopeCutoverIndex uint64         `json:"storage_envelope_cutover_index"`
	RaftEnvelopeCutoverIndex    uint64         `json:"raft_envelope_cutover_index"`
	Active                      active         `json:"active"`
	Keys                        map[string]key `json:"keys"`
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "sidecar.go:", err)
		os.Exit(1)
	}
}

func write(path string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	check(err)
	check(os.WriteFile(path, text, 0o600))
}

func ramp(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func golden(dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	const day = "2026-04-29T10:00:00Z"
	fixture := map[string]key{
		"305419896":  {"storage", []byte{1, 2, 3, 4}, day, 7},
		"2596069104": {"raft", []byte{5, 6, 7, 8}, day, 7},
	}
	both := active{305419896, 2596069104}
	h := func(version uint32) head { return head{version, 184273, true} }
	write(at("v1_fixture.json"), version1{h(1), 184201, both, fixture})
	write(at("v2_fixture.json"), version2{h(2), 0, 184201, both, fixture})
	write(at("v1_nil_map.json"), version1{head: head{Version: 1}})
	write(at("empty_map.json"), version1{head: head{Version: 1}, Keys: map[string]key{}})
	write(at("key_order.json"), version1{head: head{Version: 1}, Active: active{2, 10}, Keys: map[string]key{
		"2":  {"storage", ramp(4), day, 0},
		"10": {"raft", ramp(4), day, 0},
		"1":  {"raft", ramp(4), day, 0},
		"9":  {"raft", ramp(4), day, 0},
	}})
	write(at("escapes.json"), version1{head: head{Version: 1}, Keys: map[string]key{
		"1": {"storage", ramp(4), "<b>&amp;</b> \u2028 \u2029 \"\\/ \n\r\t \x00\x1f\x7f ä 😀", 0},
	}})
	write(at("largest.json"), version2{head{2, math.MaxUint64, true}, math.MaxUint64, math.MaxUint64,
		active{math.MaxUint32, 0}, map[string]key{"4294967295": {"storage", ramp(4), "", math.MaxUint16}}})
	write(at("wrapped.json"), version1{head: head{Version: 1}, Keys: map[string]key{
		"1": {"storage", ramp(0), day, 0},
		"2": {"storage", ramp(60), day, 0},
		"3": {"raft", ramp(4096), day, 0},
	}})
	write(at("v1_nil_slice.json"), version1{head: head{Version: 1}, Keys: map[string]key{
		"1": {"storage", nil, day, 0},
		"2": {"raft", []byte{}, day, 0},
	}})
}

func copyOf(path string) {
	text, err := os.ReadFile(path)
	check(err)
	var h head
	check(json.Unmarshal(text, &h))
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	if h.Version == 1 {
		var v version1
		check(strict.Decode(&v))
		write(path+".go", v)
	} else {
		var v version2
		check(strict.Decode(&v))
		write(path+".go", v)
	}
}

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "golden":
		golden(os.Args[2])
	case len(os.Args) > 2 && os.Args[1] == "copy":
		for _, path := range os.Args[2:] {
			copyOf(path)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: go run sidecar.go golden DIR | copy FILE...")
		os.Exit(2)
	}
}
