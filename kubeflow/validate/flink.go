package main

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The fields of a session cluster, from the reference of the Flink Kubernetes operator 1.10, custom resource v1beta1.
var flinkDeployment = schema.GroupVersionKind{Group: "flink.apache.org", Version: "v1beta1", Kind: "FlinkDeployment"}

type flinkObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              flinkSpec `json:"spec"`
}

type flinkSpec struct {
	Image              string                  `json:"image"`
	ImagePullPolicy    string                  `json:"imagePullPolicy"`
	FlinkVersion       string                  `json:"flinkVersion"`
	Mode               string                  `json:"mode"`
	ServiceAccount     string                  `json:"serviceAccount"`
	RestartNonce       *int64                  `json:"restartNonce"`
	FlinkConfiguration map[string]string       `json:"flinkConfiguration"`
	LogConfiguration   map[string]string       `json:"logConfiguration"`
	PodTemplate        *corev1.PodTemplateSpec `json:"podTemplate"`
	JobManager         flinkPart               `json:"jobManager"`
	TaskManager        flinkPart               `json:"taskManager"`
}

type flinkPart struct {
	Replicas    *int32                  `json:"replicas"`
	PodTemplate *corev1.PodTemplateSpec `json:"podTemplate"`
	Resource    struct {
		CPU              *float64 `json:"cpu"`
		Memory           string   `json:"memory"`
		EphemeralStorage string   `json:"ephemeralStorage"`
	} `json:"resource"`
}

// What the operator itself fills in before a pod is created.
const flinkContainer = "flink-main-container"

// admitFlink holds the object against the operator's fields, and its pods against Kubernetes.
func admitFlink(text []byte) error {
	// Without a Go type to aim at: given one, numbers would be taken for text where text is expected.
	plain, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	var object flinkObject
	unknown, err := json.UnmarshalStrict(plain, &object)
	if err = errors.Join(append(unknown, err)...); err != nil {
		return err
	}
	spec := object.Spec
	for _, one := range []struct {
		field, value string
		allowed      []string
	}{
		{"flinkVersion", spec.FlinkVersion, []string{"v1_16", "v1_17", "v1_18", "v1_19", "v1_20"}},
		{"mode", spec.Mode, []string{"native", "standalone"}},
	} {
		if !slices.Contains(one.allowed, one.value) {
			return fmt.Errorf("spec.%s: expected one of %q, received %q", one.field, one.allowed, one.value)
		}
	}
	for name, part := range map[string]flinkPart{"jobManager": spec.JobManager, "taskManager": spec.TaskManager} {
		if part.Resource.CPU == nil || part.Resource.Memory == "" {
			return fmt.Errorf("spec.%s.resource: expected cpu and memory", name)
		}
		if part.PodTemplate == nil {
			continue
		}
		if spec.PodTemplate != nil {
			// Their lists would be merged by position, a container into another.
			return fmt.Errorf("spec.%s.podTemplate: expected none beside spec.podTemplate", name)
		}
		if err := admitFlinkPod(*part.PodTemplate, spec.Image); err != nil {
			return fmt.Errorf("spec.%s.podTemplate: %w", name, err)
		}
	}
	if spec.PodTemplate != nil {
		if err := admitFlinkPod(*spec.PodTemplate, spec.Image); err != nil {
			return fmt.Errorf("spec.podTemplate: %w", err)
		}
	}
	return nil
}

func admitFlinkPod(template corev1.PodTemplateSpec, image string) error {
	for i := range template.Spec.Containers {
		if container := &template.Spec.Containers[i]; container.Name == flinkContainer {
			container.Image = image
		}
	}
	return admitPod(template)
}
