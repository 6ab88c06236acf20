package config

import (
	"reflect"
	"slices"
)

// live are the fields of [Config] that can change while requests pass.
func live() []string { return []string{"Policy", "ServedHeader"} }

// NeedsRestart names what differs between c and next that cannot change while requests
// pass, by the names of the fields of [Config]; nil when next may follow c.
func (c *Config) NeedsRestart(next *Config) []string {
	var names []string
	before, after := reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem()
	for i := range before.NumField() {
		name := before.Type().Field(i).Name
		if !slices.Contains(live(), name) && !reflect.DeepEqual(before.Field(i).Interface(), after.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
