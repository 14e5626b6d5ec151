// Worked arithmetic: hand-written transcripts, the calculator's manners, the verifier on bad input, splits, and noise that adds up.
#include "paradigm/arithmetic.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "check.h"

using namespace paradigm;

namespace {

std::shared_ptr<const ByteEncoding> bytes() { return std::make_shared<ByteEncoding>(identity_encoding(), kArithmeticAlphabet); }

std::string solved(const char* problem, bool calculator) { return arithmetic_document(*parse_arithmetic(problem), calculator); }

std::vector<int32_t> tokens(const std::string& text) { return std::vector<int32_t>(text.begin(), text.end()); }

std::string text(const std::vector<int32_t>& tokens) { return std::string(tokens.begin(), tokens.end()); }

Step act(Environment& world, const std::string& written) {
    const std::vector<int32_t> action = tokens(written);
    return world.step(action.data(), action.size());
}

void transcripts() {
    CHECK(solved("347+586", true) == "347+586\n7+6+0=13;4+8+1=13;3+5+1=09;#933\n");
    CHECK(solved("95+7", true) == "95+7\n5+7+0=12;9+0+1=10;#102\n");
    CHECK(solved("586-347", true) == "586-347\n6-7-0=19;8-4-1=03;5-3-0=02;#239\n");
    CHECK(solved("100-1", true) == "100-1\n0-1-0=19;0-0-1=19;1-0-1=00;#99\n");
    CHECK(solved("7-7", true) == "7-7\n7-7-0=00;#0\n");
    CHECK(solved("347*6", true) == "347*6\n7*6+0=42;4*6+4=28;3*6+2=20;#2082\n");
    CHECK(solved("6*347", true) == "6*347\n7*6+0=42;4*6+4=28;3*6+2=20;#2082\n");
    CHECK(solved("47*36", true) == "47*36\n47*6?282;47*3?141;2+0+0=02;8+1+0=09;2+4+0=06;0+1+0=01;#1692\n");
    CHECK(solved("47*36", false) == "47*36\n7*6+0=42;4*6+4=28;282;7*3+0=21;4*3+2=14;141;2+0+0=02;8+1+0=09;2+4+0=06;0+1+0=01;#1692\n");
    CHECK(solved("11*111", true) == "11*111\n11*1?11;11*1?11;11*1?11;1+0+0=01;1+1+0=02;0+1+0=01;121;1+0+0=01;2+0+0=02;1+1+0=02;0+1+0=01;#1221\n");
    CHECK(solved("1234567*11", true).find('?') == std::string::npos);  // past the calculator's six digits
    CHECK(solved("852/4", true) == "852/4\n8/4=2r0;05/4=1r1;12/4=3r0;#213\n");
    CHECK(solved("588/7", true) == "588/7\n5/7=0r5;58/7=8r2;28/7=4r0;#84\n");
    CHECK(solved("999999999*999999999", false).find("#999999998000000001\n") != std::string::npos);
}

void problems() {
    for (const char* bad : {"", "5", "+5", "5+", "05+1", "1+02", "3-5", "7/2", "70/10", "5/0", "1234567890+1", "1+1+1", "1 + 1", "-1+5", "1^2"}) CHECK(!parse_arithmetic(bad));
    CHECK(parse_arithmetic("0-0")->answer() == 0 && parse_arithmetic("0/9")->answer() == 0);
    const ArithmeticProblem problem = *parse_arithmetic("347+586");
    CHECK(verify_arithmetic(problem, "#933\n") && verify_arithmetic(problem, "7+6+0=99;anything#933\n"));
    for (const char* bad : {"", "#", "#933", "933\n", "#0933\n", "#+933\n", "# 933\n", "#933\n\n", "#933 \n", "#934\n", "#933\n#933\n", "#93#933\n", "#933;\n", "##933\n"}) {
        CHECK(!verify_arithmetic(problem, bad));
    }
    CHECK(!verify_arithmetic(problem, std::string(20000, ';') + "#933\n"));
    CHECK(*calculate("999999*9") == 8999991 && *calculate("0*7") == 0);
    for (const char* bad : {"", "*", "47*", "*6", "1000000*2", "47*36", "047*6", "4+6", "4*6*2", "a*6", " 4*6"}) CHECK(!calculate(bad));
}

void episodes() {
    Arithmetic world(bytes(), true);
    Step step = world.reset("47*36", 0);
    CHECK(text(step.observations[0].tokens) == "47*36\n" && step.observations[0].thought_until == '#' && step.observations[0].stop.size() == 2);
    const int budget = step.observations[0].max_action_tokens;
    step = act(world, "47*6?");
    CHECK(text(step.observations[0].tokens) == "282;" && !step.terminated && step.observations[0].max_action_tokens == budget - 9);
    const std::unique_ptr<Environment> other = world.clone();
    CHECK(text(act(world, "1+1+0=02;47*36?").observations[0].tokens) == "E;");
    step = act(world, "#1692\n");
    CHECK(step.terminated && !step.truncated && step.rewards[0] == 1.0f && step.observations.empty());
    CHECK(act(*other, "#1691\n").rewards[0] == 0.0f);

    world.reset("47*36", 0);
    act(world, "#1692?");
    CHECK(act(world, "#1692\n").rewards[0] == 0.0f);  // two answers
    world.reset("1+1", 0);
    step = act(world, "2");
    CHECK(step.truncated && !step.terminated && step.rewards[0] == 0.0f);
    world.reset("1+1", 0);
    int calls = 0;
    for (step = act(world, "?"); !step.truncated; step = act(world, "?")) CHECK(++calls < 100);
    CHECK(calls > 0 && step.observations.empty());

    Arithmetic plain(bytes(), false);
    CHECK(plain.reset("47*36", 0).observations[0].stop == std::vector<int32_t>{'\n'});
    CHECK(act(plain, "47*6?").truncated);
    bool thrown = false;
    try {
        world.reset("3-5", 0);
    } catch (const std::invalid_argument&) {
        thrown = true;
    }
    CHECK(thrown);

    EncodingTable table;
    for (int byte = 0; byte < 256; ++byte) table[byte] = 5000 + 3 * byte;
    Arithmetic shifted(std::make_shared<ByteEncoding>(table, kArithmeticAlphabet), true);
    CHECK(shifted.reset("1+1", 0).observations[0].tokens[0] == 5000 + 3 * '1');
    const std::vector<int32_t> answer = shifted.encoding().encode("#2\n");
    CHECK(shifted.step(answer.data(), answer.size()).rewards[0] == 1.0f);
}

void splits() {
    ArithmeticTaskOptions options;
    std::set<std::string> seen[3];
    for (int split = 0; split < 3; ++split) {
        for (const std::string& task : arithmetic_tasks(7, 2000, static_cast<ArithmeticSplit>(split), options)) {
            CHECK(static_cast<int>(arithmetic_split(*parse_arithmetic(task))) == split);
            seen[split].insert(task);
        }
    }
    for (const std::string& task : seen[2]) {
        CHECK(seen[0].count(task) == 0 && seen[1].count(task) == 0);
        ArithmeticProblem mirror = *parse_arithmetic(task);
        if (mirror.operation != '+' && mirror.operation != '*') continue;
        std::swap(mirror.left, mirror.right);
        CHECK(arithmetic_split(mirror) == ArithmeticSplit::test && seen[0].count(mirror.text()) == 0);
    }
}

void demonstrations() {
    const std::vector<std::string> tasks = arithmetic_tasks(1, 8000, ArithmeticSplit::train, {});
    for (const bool calculator : {true, false}) {
        Arithmetic world(bytes(), calculator);
        for (const double error_rate : {0.0, 0.1}) {
            const ArithmeticDemonstrator player(error_rate, 0.3);
            double expected = 0.0, variance = 0.0;
            int num_right = 0, num_wrong_steps = 0, num_withdrawn = 0;
            for (std::size_t i = 0; i < tasks.size(); ++i) {
                Step step = world.reset(tasks[i], 0);
                std::string written;
                while (!step.terminated) {
                    CHECK(!step.truncated);
                    const std::vector<int32_t> action = player.act(world, step.observations[0], i);
                    CHECK(action == player.act(world, step.observations[0], i));
                    written += text(action);
                    step = world.step(action.data(), action.size());
                    if (!step.terminated) written += text(step.observations[0].tokens);
                }
                int num_steps = 0;
                for (const ScratchStep& scratch : scratch_steps(solved(tasks[i].c_str(), calculator))) {
                    CHECK(scratch.right && !scratch.withdrawn);
                    ++num_steps;
                }
                bool any_wrong = false;
                for (const ScratchStep& scratch : scratch_steps(written)) {
                    CHECK(!(scratch.right && scratch.withdrawn));
                    num_withdrawn += scratch.withdrawn;
                    num_wrong_steps += !scratch.right && !scratch.withdrawn;
                    any_wrong |= !scratch.right && !scratch.withdrawn;
                }
                if (!any_wrong) CHECK(step.rewards[0] == 1.0f);
                num_right += step.rewards[0] == 1.0f;
                const double share = std::pow(1.0 - error_rate * 0.7, num_steps);
                expected += share;
                variance += share * (1.0 - share);
            }
            // four deviations; errors that cancel add at most a few in a thousand
            CHECK(std::abs(num_right - expected) <= 4.0 * std::sqrt(variance) + (error_rate > 0.0 ? 24 : 0));
            CHECK((num_wrong_steps > 0) == (error_rate > 0.0) && (num_withdrawn > 0) == (error_rate > 0.0));
        }
    }
}

void labels() {
    const std::string stream = "47*6\n7*6+0=41!7*6+0=42;4*6+4=29;47*66?E;47*6?282;#292\n";
    const std::size_t start = 5, first_reply = stream.find("E;"), second_reply = stream.find("282;");
    const std::unique_ptr<bool[]> mask(new bool[stream.size()]);
    for (std::size_t i = 0; i < stream.size(); ++i) mask[i] = i >= start && !(i >= first_reply && i < first_reply + 2) && !(i >= second_reply && i < second_reply + 4);
    std::string codes;
    for (const ArithmeticLabel label : arithmetic_labels(stream, mask.get())) codes += "prwci"[static_cast<int>(label)];
    CHECK(codes == "ppppp" "ccccccccc" "rrrrrrrrr" "wwwwwwwww" "wwwwww" "ii" "rrrrr" "iiii" "wwwww");
}

}  // namespace

int main() {
    transcripts();
    problems();
    episodes();
    splits();
    demonstrations();
    labels();
    return 0;
}
