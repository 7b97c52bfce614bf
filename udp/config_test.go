package udp

import (
	"reflect"
	"strings"
	"testing"
)

// Every field has a default, or stands here because zero is it.
var zeroIsDefault = map[string]bool{
	"Mapping": true, "Filtering": true, "WriteRefreshes": true, "Admit": true,
	"Multicast": true, "DontFragment": true, "TrafficClass": true,
}

func TestConfigDefaults(t *testing.T) {
	v := reflect.ValueOf(Config{}.defaults())
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() != zeroIsDefault[name] {
			t.Errorf("default of %s is %v", name, v.Field(i))
		}
	}
}

// Whatever is set stays, and a negative number is either "none", which stays
// too, or an error that names the field and the value.
func TestConfigFields(t *testing.T) {
	refused := map[string]bool{"AcceptQueue": true, "HopLimit": true, "TrafficClass": true}
	typ := reflect.TypeFor[Config]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		var c Config
		f := reflect.ValueOf(&c).Elem().Field(i)
		switch {
		case f.CanInt():
			f.SetInt(7)
			if got := reflect.ValueOf(c.defaults()).Field(i).Int(); got != 7 {
				t.Errorf("%s: 7 became %d", name, got)
			}
			if err := c.validate(); err != nil {
				t.Errorf("%s = 7: %v", name, err)
			}
			f.SetInt(-3)
			err := c.validate()
			switch {
			case refused[name] && (err == nil || !strings.Contains(err.Error(), "udp.Config."+name) ||
				!strings.Contains(err.Error(), "-3")):
				t.Errorf("%s = -3: error %v names not both", name, err)
			case !refused[name] && err != nil:
				t.Errorf("%s = -3: %v", name, err)
			case reflect.ValueOf(c.defaults()).Field(i).Int() != -3:
				t.Errorf("%s: -3 did not stay", name)
			}
		case f.CanUint():
			f.SetUint(200)
			err := c.validate()
			if err == nil || !strings.Contains(err.Error(), "udp.Config."+name) ||
				!strings.Contains(err.Error(), "200") {
				t.Errorf("%s = 200: error %v names not both", name, err)
			}
		case f.Kind() != reflect.Bool && f.Kind() != reflect.Func:
			t.Errorf("%s: no test for a %v", name, f.Kind())
		}
	}
}

func TestConfigTooLarge(t *testing.T) {
	for _, c := range []Config{{AcceptQueue: 1 << 20}, {HopLimit: 256}, {TrafficClass: 256}} {
		if _, err := NewTable(&c, Env{}); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
	if _, err := NewTable(nil, Env{}); err != nil {
		t.Errorf("nil Config: %v", err)
	}
}

// The table of the package comment names every field.
func TestNames(t *testing.T) {
	for _, s := range []string{
		PerSource.String(), PerFlow.String(), PerDestination.String(), Mapping(9).String(),
		EndpointIndependent.String(), AddressDependent.String(), AddressAndPortDependent.String(),
		Filtering(9).String(), Accept.String(), Refuse.String(), Drop.String(), Verdict(9).String(),
	} {
		if s == "" {
			t.Error("a value without a name")
		}
	}
}
