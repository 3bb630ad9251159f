#include "engine.hpp"

#include <algorithm>
#include <future>
#include <mutex>
#include <openvino/core/version.hpp>
#include <openvino/runtime/core.hpp>
#include <openvino/runtime/properties.hpp>
#include <set>
#include <utility>

#include "errors.hpp"
#include "version.hpp"

namespace medsam_edge {
namespace {

constexpr int kRequests = 4;  // at a time; further callers wait

std::string last_line(const std::string& message) {
    const std::size_t end = message.find_last_not_of(" \n\r\t");
    const std::size_t begin = message.find_last_of('\n', end);
    return message.substr(begin == std::string::npos ? 0 : begin + 1, end == std::string::npos ? end : end - begin);
}

ov::element::Type element_of(Type type) {
    if (type == Type::i64) { return ov::element::i64; }
    return type == Type::f16 ? ov::element::f16 : ov::element::f32;
}

Array copied(const std::string& name, const ov::Tensor& tensor) {
    const ov::element::Type type = tensor.get_element_type();
    if (type != ov::element::f16 && type != ov::element::f32) {
        fail(Code::bundle, "bundle: expected %s in f16 or f32, got %s", name.c_str(), type.get_type_name().c_str());
    }
    Array array{type == ov::element::f16 ? Type::f16 : Type::f32, tensor.get_shape(), {}};
    const auto* bytes = static_cast<const std::uint8_t*>(std::as_const(tensor).data());
    array.bytes.assign(bytes, bytes + tensor.get_byte_size());
    return array;
}

class OpenVinoNetwork final : public Network {
public:
    OpenVinoNetwork(ov::Core& core, const std::string& xml, std::string weights, const std::string& precision,
                    const SegmenterSettings& settings)
        : weights_(std::move(weights)) {
        ov::AnyMap config{ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
        if (settings.num_threads > 0) { config.insert(ov::inference_num_threads(settings.num_threads)); }
        if (!settings.cache_dir.empty()) { config.insert(ov::cache_dir(settings.cache_dir)); }
        if (precision == "f32") { config.insert(ov::hint::inference_precision(ov::element::f32)); }
        const ov::Tensor tensor(ov::element::u8, {weights_.size()}, weights_.data());
        compiled_ = core.compile_model(xml, tensor, settings.device, config);
        for (int i = 0; i < kRequests; ++i) { idle_.push_back(compiled_.create_infer_request()); }
        for (const auto& port : compiled_.outputs()) { outputs_.push_back(port.get_any_name()); }
    }

    std::map<std::string, Array> infer(const std::vector<Feed>& feeds) const override {
        Request request(*this);
        try {
            for (const Feed& feed : feeds) {
                // OpenVINO reads inputs only, but has no tensor over constant memory
                request.own.set_tensor(feed.name,
                                       ov::Tensor(element_of(feed.type), feed.shape, const_cast<void*>(feed.data)));
            }
            request.own.infer();
            std::map<std::string, Array> found;
            for (const std::string& name : outputs_) {
                found.emplace(name, copied(name, request.own.get_tensor(name)));
            }
            return found;
        } catch (const ov::Exception& error) {
            fail(Code::bundle, "bundle: OpenVINO cannot compute it: %s", last_line(error.what()).c_str());
        }
    }

    [[nodiscard]] std::set<std::string> inputs() const {
        std::set<std::string> names;
        for (const auto& port : compiled_.inputs()) { names.insert(port.get_names().begin(), port.get_names().end()); }
        return names;
    }

    /// No sides where no port has that name, or its shape is dynamic.
    [[nodiscard]] Shape shape(const std::string& name) const {
        std::vector<ov::Output<const ov::Node>> ports = compiled_.inputs();
        const auto outputs = compiled_.outputs();
        ports.insert(ports.end(), outputs.begin(), outputs.end());
        for (const auto& port : ports) {
            if (port.get_names().count(name) > 0 && port.get_partial_shape().is_static()) { return port.get_shape(); }
        }
        return {};
    }

    [[nodiscard]] bool gives(const std::string& name) const {
        const auto ports = compiled_.outputs();
        return std::any_of(ports.begin(), ports.end(),
                           [&](const auto& port) { return port.get_names().count(name) > 0; });
    }

private:
    /// One infer request, for as long as it lives.
    struct Request {
        explicit Request(const OpenVinoNetwork& of) : network(of) {
            std::unique_lock lock(network.mutex_);
            network.free_.wait(lock, [&] { return !network.idle_.empty(); });
            own = std::move(network.idle_.back());
            network.idle_.pop_back();
        }
        ~Request() {
            {
                const std::scoped_lock lock(network.mutex_);
                network.idle_.push_back(std::move(own));
            }
            network.free_.notify_one();
        }
        Request(const Request&) = delete;
        Request& operator=(const Request&) = delete;

        const OpenVinoNetwork& network;
        ov::InferRequest own;
    };

    std::string weights_;  // which the compiled model may read
    ov::CompiledModel compiled_;
    std::vector<std::string> outputs_;
    mutable std::mutex mutex_;
    mutable std::condition_variable free_;
    mutable std::vector<ov::InferRequest> idle_;
};

/// Year and month of a version: "2026.4.1-123-abc" → (2026, 4).
std::vector<int> release_of(const std::string& version) {
    std::vector<int> parts;
    std::string digits;
    for (const char letter : version + '.') {
        if (letter == '-' || parts.size() == 2) { break; }
        if (letter >= '0' && letter <= '9' && digits.size() < 6) {
            digits.push_back(letter);
        } else if (letter == '.') {
            if (!digits.empty()) { parts.push_back(std::stoi(digits)); }
            digits.clear();
        }
    }
    if (parts.size() < 2 && !digits.empty()) { parts.push_back(std::stoi(digits)); }
    return parts;
}

void check_classes(const OpenVinoNetwork& network, const char* part, const char* port, std::size_t classes) {
    if (network.shape(port) != (classes > 0 ? Shape{1, classes} : Shape{})) {
        fail(Code::bundle, "bundle: the manifest has %zu classes, which %s of %s is not for", classes, port, part);
    }
}

void check_ports(const OpenVinoNetwork& encoder, const OpenVinoNetwork& decoder, const Manifest& manifest) {
    check_classes(encoder, "encoder", "class_scores", manifest.classes.size());
    check_classes(decoder, "decoder", "classes", manifest.classes.size());
    const std::set<std::string> inputs = decoder.inputs();
    bool takes_more = true;
    for (const char* name : {"points", "point_labels", "prior", "has_prior"}) { takes_more &= inputs.count(name) > 0; }
    if (takes_more != manifest.all_prompts) {
        fail(Code::bundle, "bundle: the manifest has prompts %s, but the decoder takes %s",
             manifest.all_prompts ? "box, points, mask" : "box", takes_more ? "points and masks" : "boxes alone");
    }
    const bool ports = encoder.inputs().count("image") > 0 && encoder.gives("embedding") &&
                       inputs.count("embedding") > 0 && inputs.count("boxes") > 0 && inputs.count("cells") > 0 &&
                       decoder.gives("logits") && decoder.gives("scores");
    if (!ports) { fail(Code::bundle, "bundle: encoder or decoder lacks an input or output"); }
}

}  // namespace

const char* version() {
    static const std::string both =
        text("%s, OpenVINO %s", MEDSAM_EDGE_VERSION, ov::get_openvino_version().buildNumber);
    return both.c_str();
}

std::vector<float> Model::one_hot(Modality modality) const {
    std::vector<float> result;
    for (const Modality own : manifest.classes) { result.push_back(own == modality ? 1.0F : 0.0F); }
    if (std::find(result.begin(), result.end(), 1.0F) == result.end()) {
        std::string known;
        for (const Modality own : manifest.classes) {
            known += (known.empty() ? "" : ", ") + std::string(name_of(own));
        }
        fail(Code::modality, "modality: the model knows %s, got %s", known.c_str(), name_of(modality));
    }
    return result;
}

Model load_model(Bundle bundle, const SegmenterSettings& settings) {
    const Manifest& manifest = bundle.manifest;
    const std::string version = ov::get_openvino_version().buildNumber;
    if (release_of(version) < release_of(manifest.openvino)) {
        fail(Code::bundle, "bundle: needs OpenVINO %.40s or newer, this is %s", manifest.openvino.c_str(),
             version.c_str());
    }
    ov::Core core;
    const auto compile = [&](const std::string& part, const std::string& precision) {
        std::string weights = std::move(bundle.contents.at(part + ".bin"));
        return std::make_unique<OpenVinoNetwork>(core, bundle.contents.at(part + ".xml"), std::move(weights), precision,
                                                 settings);
    };
    try {
        auto encoding = std::async(std::launch::async, compile, "encoder", manifest.encoder_precision);
        auto decoder = compile("decoder", manifest.decoder_precision);
        auto encoder = encoding.get();
        check_ports(*encoder, *decoder, manifest);
        return {std::move(encoder), std::move(decoder), manifest, bundle.identity};
    } catch (const ov::Exception& error) {
        fail(Code::bundle, "bundle: OpenVINO cannot compile it for %s: %s", settings.device.c_str(),
             last_line(error.what()).c_str());
    }
}

}  // namespace medsam_edge
